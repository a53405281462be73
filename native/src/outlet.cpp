#include "bentosync/outlet.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bentosync {
namespace {

// From OpenSSL's headers; they are part of its ABI.
constexpr int outlet_kind = 0x0400 | 101;  // BIO_TYPE_SOURCE_SINK, and a number of ours
constexpr int flag_write = 0x02, flag_should_retry = 0x08, flags_of_retry = 0x0F;
constexpr int ctrl_flush = 11;

// Eight records: more of them, up to a mebibyte, are no cheaper, and these stay in the processor's cache.
constexpr std::size_t outlet_bytes = 128 << 10;

void say_why(openssl::Source* source) {
    if (errno == EAGAIN || errno == EINTR) {
        openssl::library()->BIO_set_flags(source, flag_write | flag_should_retry);
    }
}

Outlet& outlet_of(openssl::Source* source) { return *static_cast<Outlet*>(openssl::library()->BIO_get_data(source)); }

int put_out(openssl::Source* source, const char* from, std::size_t bytes, std::size_t* moved) {
    openssl::library()->BIO_clear_flags(source, flags_of_retry);
    if (outlet_of(source).put(from, bytes, moved)) {
        return 1;
    }
    say_why(source);
    return 0;
}

// OpenSSL flushes after messages of the handshake and after alerts.
long answer(openssl::Source* source, int command, long, void*) {
    if (command != ctrl_flush) {
        return 0;
    }
    openssl::library()->BIO_clear_flags(source, flags_of_retry);
    if (outlet_of(source).flush()) {
        return 1;
    }
    say_why(source);
    return 0;
}

// Made once, and never freed, like the library itself.
const openssl::SourceMethod* outlet_method() {
    static const openssl::SourceMethod* const made = [] {
        const auto& ssl = *openssl::library();
        auto* method = ssl.BIO_meth_new(outlet_kind, "bentosync outlet");
        const bool whole = method != nullptr && ssl.BIO_meth_set_write_ex(method, put_out) == 1 &&
                           ssl.BIO_meth_set_ctrl(method, answer) == 1;
        return whole ? method : nullptr;
    }();
    return made;
}

}  // namespace

openssl::Source* Outlet::as_source() {
    const auto& ssl = *openssl::library();
    auto* source = outlet_method() == nullptr ? nullptr : ssl.BIO_new(outlet_method());
    if (source != nullptr) {
        ssl.BIO_set_data(source, this);
        ssl.BIO_set_init(source, 1);
    }
    return source;
}

bool Outlet::put(const char* from, std::size_t bytes, std::size_t* moved) {
    if (!gathers_ && empty()) {
        const ssize_t sent = ::send(fd_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        *moved = static_cast<std::size_t>(std::max<ssize_t>(sent, 0));
        return sent >= 0;
    }
    if (bytes > outlet_bytes - end_ && !flush()) {
        return false;
    }
    if (bytes_ == nullptr) {
        bytes_ = std::make_unique_for_overwrite<std::uint8_t[]>(outlet_bytes);
    }
    *moved = std::min(bytes, outlet_bytes - end_);
    std::memcpy(bytes_.get() + end_, from, *moved);
    end_ += *moved;
    return true;
}

bool Outlet::flush() {
    while (!empty()) {
        const ssize_t sent = ::send(fd_, bytes_.get() + begin_, size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            return false;
        }
        begin_ += static_cast<std::size_t>(sent);
    }
    begin_ = end_ = 0;
    return true;
}

}  // namespace bentosync
