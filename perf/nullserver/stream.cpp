#include "stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace nullserver {
namespace {

constexpr std::size_t buffer_bytes = 256 << 10;
constexpr std::size_t call_bytes = 8 << 20;
constexpr int hang_milliseconds = 600'000;

}  // namespace

Stream::Stream(int socket, Session session, Weather& weather)
    : socket_(socket), session_(std::move(session)), weather_(weather), buffer_(buffer_bytes) {}

Stream::~Stream() { close(socket_); }

std::optional<std::string> Stream::read_until(std::string_view end, std::size_t size_max) {
    for (std::size_t searched = 0;;) {
        const std::string_view held(buffer_.data() + begin_, end_ - begin_);
        const std::size_t found = held.find(end, searched);
        if (found != std::string_view::npos) {
            std::string text(held.substr(0, found + end.size()));
            begin_ += text.size();
            return text;
        }
        if (held.size() >= size_max) {
            throw Closed{};
        }
        searched = held.size() < end.size() ? 0 : held.size() - end.size() + 1;
        std::memmove(buffer_.data(), held.data(), held.size());
        begin_ = 0;
        end_ = held.size();
        const std::size_t count = receive(buffer_.data() + end_, buffer_.size() - end_);
        if (count == 0) {
            return std::nullopt;
        }
        end_ += count;
    }
}

void Stream::read(char* to, std::size_t size) {
    const std::size_t held = std::min(size, end_ - begin_);
    std::memcpy(to, buffer_.data() + begin_, held);
    begin_ += held;
    for (std::size_t done = held; done < size;) {
        const std::size_t count = receive(to + done, step(size - done));
        if (count == 0) {
            throw Closed{};
        }
        done += count;
    }
}

void Stream::discard(std::size_t size) {
    const std::size_t held = std::min(size, end_ - begin_);
    begin_ += held;
    for (size -= held; size > 0;) {
        const std::size_t wanted = step(size);
        ssize_t count;
        if (session_) {
            begin_ = end_ = 0;
            count = static_cast<ssize_t>(tls_read(session_.get(), buffer_.data(), std::min(wanted, buffer_.size())));
        } else {
            count = recv(socket_, nullptr, wanted, MSG_TRUNC);  // the kernel drops them: nothing is copied
        }
        if (count <= 0) {
            throw Closed{};
        }
        size -= static_cast<std::size_t>(count);
    }
}

void Stream::write(std::string_view data) {
    while (!data.empty()) {
        const std::size_t wanted = step(data.size());
        const bool sent = session_ ? tls_write(session_.get(), data.data(), wanted)
                                   : send(socket_, data.data(), wanted, MSG_NOSIGNAL ) ==
                                         static_cast<ssize_t>(wanted);
        if (!sent) {
            throw Closed{};
        }
        data.remove_prefix(wanted);
    }
}

void Stream::flush() {
    if (session_ && !tls_flush(session_.get())) {
        throw Closed{};
    }
}

void Stream::send_file(int file, std::size_t begin, std::size_t size) {
    for (auto offset = static_cast<off_t>(begin); size > 0;) {
        ssize_t count;
        if (session_) {
            begin_ = end_ = 0;  // a request was read whole, so its buffer is free
            count = pread(file, buffer_.data(), std::min(step(size), buffer_.size()), offset);
            if (count <= 0 || !tls_write(session_.get(), buffer_.data(), static_cast<std::size_t>(count))) {
                throw Closed{};
            }
            offset += count;
        } else {
            count = sendfile(socket_, file, &offset, step(size));
            if (count <= 0) {
                throw Closed{};
            }
        }
        size -= static_cast<std::size_t>(count);
    }
}

void Stream::hang() {
    flush();
    pollfd waiting{socket_, POLLRDHUP, 0};
    poll(&waiting, 1, hang_milliseconds);
    throw Closed{};
}

std::size_t Stream::receive(char* to, std::size_t size) {
    if (session_) {
        return tls_read(session_.get(), to, size);
    }
    const ssize_t count = recv(socket_, to, size, 0);
    return count > 0 ? static_cast<std::size_t>(count) : 0;
}

// How many of `size` bytes may move now; waits for them when there is a rate.
std::size_t Stream::step(std::size_t size) {
    if (!weather_.shaped()) {
        return std::min(size, call_bytes);
    }
    size = std::min(size, weather_.shaped_bytes());
    weather_.pace(pacer_, size);
    return size;
}

}  // namespace nullserver
