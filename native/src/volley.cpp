#include "bentosync/volley.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

namespace bentosync {
namespace {

constexpr std::string_view line_end = "\r\n";
constexpr std::string_view head_end = "\r\n\r\n";
constexpr std::string_view unprintable("\r\n\0", 3);
constexpr std::string_view version = "HTTP/1.1 ";
constexpr std::size_t length_digits_max = 9;
constexpr std::uint64_t stop_mark = ~std::uint64_t{0};
constexpr int events_max = 64;
constexpr std::int64_t ns_per_ms = 1'000'000;
// Silence is measured to this part of the time allowed.
constexpr std::int64_t looks = 4;

std::int64_t now_ns() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

bool is_name_char(char c) noexcept {
    constexpr std::string_view others = "!#$%&'*+.^_`|~-";
    const char small = lower(c);
    return is_digit(c) || (small >= 'a' && small <= 'z') || others.find(c) != std::string_view::npos;
}

bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

// `lowered` is in lower case already.
bool same(std::string_view text, std::string_view lowered) noexcept {
    return std::ranges::equal(text, lowered, {}, lower);
}

std::string_view trimmed(std::string_view text) noexcept {
    while (!text.empty() && is_blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_blank(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

// Whether `word` is one of a list's members.
bool lists(std::string_view list, std::string_view word) noexcept {
    while (true) {
        const std::size_t comma = list.find(',');
        if (same(trimmed(list.substr(0, comma)), word)) {
            return true;
        }
        if (comma == std::string_view::npos) {
            return false;
        }
        list.remove_prefix(comma + 1);
    }
}

std::optional<std::size_t> number(std::string_view digits) noexcept {
    if (digits.empty() || digits.size() > length_digits_max || !std::ranges::all_of(digits, is_digit)) {
        return std::nullopt;
    }
    std::size_t value = 0;
    for (const char digit : digits) {
        value = value * 10 + static_cast<std::size_t>(digit - '0');
    }
    return value;
}

// "HTTP/1.1 200", or that and a blank and a reason; 0: it is neither.
unsigned status_of(std::string_view line) noexcept {
    const std::size_t end = version.size() + 3;
    if (!line.starts_with(version) || line.size() < end || (line.size() > end && line[end] != ' ')) {
        return 0;
    }
    if (line.find_first_of(unprintable) != line.npos) {
        return 0;
    }
    const auto value = number(line.substr(version.size(), 3));
    return value ? static_cast<unsigned>(*value) : 0;
}

void require(int result) {
    if (result < 0) {
        throw std::system_error(errno, std::generic_category(), "a volley");
    }
}

struct Fields {
    std::optional<std::size_t> length;
    bool keep = true;
};

// Takes in one line of the head. False: it is broken, says what is not understood here, or belongs to another's reply.
bool take(std::string_view line, std::string_view echo_name, std::string_view echo, Fields& fields) noexcept {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) {
        return false;
    }
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!std::ranges::all_of(name, is_name_char) || value.find_first_of(unprintable) != value.npos) {
        return false;
    }
    if (same(name, "content-length")) {
        const auto length = number(value);
        const bool agrees = length && (!fields.length || *fields.length == *length);
        fields.length = length;
        return agrees;
    }
    if (same(name, "connection")) {
        fields.keep = fields.keep && !lists(value, "close");
    }
    return !same(name, "transfer-encoding") && (!same(name, echo_name) || value == echo);
}

}  // namespace

Descriptor::~Descriptor() {
    if (number_ >= 0) {
        ::close(number_);
    }
}

Answer read_answer(std::string_view received, std::string_view echo_name, std::string_view echo) noexcept {
    constexpr Answer broken{Answer::broken};
    const std::size_t end = received.find(head_end);
    if (end == received.npos) {
        return received.size() < reply_bytes_max ? Answer{} : broken;
    }
    std::string_view head = received.substr(0, end + line_end.size());
    std::size_t line = head.find(line_end);
    const unsigned status = status_of(head.substr(0, line));
    if (status < 200) {
        return broken;  // no HTTP, or a reply before the reply, which nobody asked for
    }
    Fields fields;
    for (head.remove_prefix(line + line_end.size()); !head.empty(); head.remove_prefix(line + line_end.size())) {
        line = head.find(line_end);
        if (!take(head.substr(0, line), echo_name, echo, fields)) {
            return broken;
        }
    }
    const bool bodyless = status == 204 || status == 304;
    if (!bodyless && !fields.length) {
        return broken;
    }
    const std::size_t whole = end + head_end.size() + (bodyless ? 0 : *fields.length);
    if (whole > reply_bytes_max) {
        return broken;
    }
    if (received.size() < whole) {
        return {};
    }
    return {Answer::whole, status < 300, fields.keep && received.size() == whole};
}

Volley::Volley(std::span<const int> sockets, std::vector<Shot> shots, std::string echo_name, std::int64_t silence_ns,
               int stop_fd)
    : shots_(std::move(shots)),
      echo_name_(std::move(echo_name)),
      silence_ns_(silence_ns),
      epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      lanes_(sockets.size()),
      results_(shots_.size(), waiting),
      resting_(sockets.size(), 0) {
    require(*epoll_fd_);
    epoll_event stop{EPOLLIN, {.u64 = stop_mark}};
    require(::epoll_ctl(*epoll_fd_, EPOLL_CTL_ADD, stop_fd, &stop));
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
        lanes_[i].received.resize(reply_bytes_max);
        lanes_[i].fd = Descriptor(::fcntl(sockets[i], F_DUPFD_CLOEXEC, 0));
        require(*lanes_[i].fd);
        epoll_event readable{EPOLLIN, {.u64 = i}};
        require(::epoll_ctl(*epoll_fd_, EPOLL_CTL_ADD, *lanes_[i].fd, &readable));
    }
}

void Volley::run() noexcept {
    active_ = lanes_.size();
    for (Lane& lane : lanes_) {
        lane.active = true;
        next(lane);
    }
    const std::int64_t pause_ns = std::max(silence_ns_ / looks, ns_per_ms);
    std::int64_t look_at_ns = now_ns() + pause_ns;
    while (active_ > 0) {
        std::array<epoll_event, events_max> events;
        const int count = ::epoll_wait(*epoll_fd_, events.data(), events_max, static_cast<int>(pause_ns / ns_per_ms));
        if (count < 0 && errno != EINTR) {
            return;
        }
        for (int i = 0; i < count; ++i) {
            if (events[static_cast<std::size_t>(i)].data.u64 == stop_mark) {
                return;
            }
            Lane& lane = lanes_[events[static_cast<std::size_t>(i)].data.u64];
            const std::uint32_t said = events[static_cast<std::size_t>(i)].events;
            if (lane.active && (said & ~std::uint32_t{EPOLLOUT}) != 0) {
                receive(lane);
            }
            if (lane.active && lane.blocked && (said & EPOLLOUT) != 0) {
                send(lane);
            }
        }
        const std::int64_t now = now_ns();
        if (now >= look_at_ns) {
            look_at_ns = now + pause_ns;
            end_silent(now);
        }
    }
}

void Volley::next(Lane& lane) noexcept {
    if (next_ == shots_.size()) {
        end(lane, true);
        return;
    }
    lane.shot = next_++;
    lane.sent = lane.filled = 0;
    lane.moved_at_ns = now_ns();
    results_[lane.shot] = unknown;
    send(lane);
}

void Volley::send(Lane& lane) noexcept {
    const Shot& shot = shots_[lane.shot];
    const std::size_t whole = shot.head.size() + shot.body.size();
    while (lane.sent < whole) {
        std::array<iovec, 2> pieces{};
        std::size_t count = 0;
        std::size_t skipped = lane.sent;
        for (const auto piece : {shot.head, shot.body}) {
            const std::size_t begin = std::min(skipped, piece.size());
            skipped -= begin;
            if (begin < piece.size()) {
                pieces[count++] = {const_cast<std::uint8_t*>(piece.data()) + begin, piece.size() - begin};
            }
        }
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = count;
        const ssize_t moved = ::sendmsg(*lane.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (moved < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN) {
                watch(lane, true);
            } else {
                end(lane, false);
            }
            return;
        }
        lane.sent += static_cast<std::size_t>(moved);
        lane.moved_at_ns = now_ns();
    }
    watch(lane, false);
}

void Volley::receive(Lane& lane) noexcept {
    const ssize_t moved =
        ::recv(*lane.fd, lane.received.data() + lane.filled, lane.received.size() - lane.filled, MSG_DONTWAIT);
    if (moved < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (moved <= 0) {
        end(lane, false);
        return;
    }
    lane.filled += static_cast<std::size_t>(moved);
    lane.moved_at_ns = now_ns();
    const Shot& shot = shots_[lane.shot];
    const Answer answer = read_answer({lane.received.data(), lane.filled}, echo_name_, shot.echo);
    if (answer.state == Answer::partial) {
        return;
    }
    if (answer.state == Answer::whole) {
        results_[lane.shot] = answer.success ? success : refused;
    }
    if (answer.keep && lane.sent == shot.head.size() + shot.body.size()) {
        next(lane);
    } else {
        end(lane, false);
    }
}

void Volley::end(Lane& lane, bool rests) noexcept {
    lane.active = false;
    --active_;
    resting_[static_cast<std::size_t>(&lane - lanes_.data())] = rests ? 1 : 0;
    ::epoll_ctl(*epoll_fd_, EPOLL_CTL_DEL, *lane.fd, nullptr);
}

void Volley::watch(Lane& lane, bool blocked) noexcept {
    if (lane.blocked == blocked) {
        return;
    }
    lane.blocked = blocked;
    const auto index = static_cast<std::uint64_t>(&lane - lanes_.data());
    epoll_event wanted{EPOLLIN | (blocked ? EPOLLOUT : 0u), {.u64 = index}};
    ::epoll_ctl(*epoll_fd_, EPOLL_CTL_MOD, *lane.fd, &wanted);
}

void Volley::end_silent(std::int64_t now) noexcept {
    for (Lane& lane : lanes_) {
        if (lane.active && now - lane.moved_at_ns >= silence_ns_) {
            end(lane, false);
        }
    }
}

}  // namespace bentosync
