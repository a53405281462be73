// Many short exchanges over connected plain sockets, each sending its next request when the last one is answered. What
// `bentosync.wire.volley` does on an event loop, in the caller's thread and without its GIL.
//
// It takes what goes well and judges nothing else: a reply of HTTP/1.1 with a plain length, whole within `reply_bytes_max`.
// Any other ends its connection and leaves its request unknown; so do silence and a connection that breaks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bentosync {

// A reply longer than this, with its head, is no short one.
constexpr std::size_t reply_bytes_max = 16 << 10;

struct Shot {
    std::span<const std::uint8_t> head;  // all that is sent before the body
    std::span<const std::uint8_t> body;
    std::string_view echo;  // a reply that has the header which repeats this, with another value, is another's
};

// What has come of a reply so far. `whole`: it is all there; `keep`: another request may follow on its connection.
struct Answer {
    enum State : std::uint8_t { partial, whole, broken };
    State state = partial;
    bool success = false;
    bool keep = false;
};

// `echo_name` is in lower case.
Answer read_answer(std::string_view received, std::string_view echo_name, std::string_view echo) noexcept;

// Closed with this.
class Descriptor {
public:
    explicit Descriptor(int number = -1) noexcept : number_(number) {}
    ~Descriptor();
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }

    int operator*() const noexcept { return number_; }

private:
    int number_;
};

class Volley {
public:
    // What came of a request; the numbers are those of src/bentosync/wire/volley.py. Of `waiting` ones nothing was sent.
    enum Result : std::uint8_t { waiting, unknown, refused, success };

    // The sockets stay the caller's; a copy of each is used, so that closing one of them does no harm. The memory of
    // `shots` must live until `run` has returned. `run` also returns, soon, once `stop_fd` is readable.
    // Raises std::system_error if there are no descriptors left, and std::bad_alloc.
    Volley(std::span<const int> sockets, std::vector<Shot> shots, std::string echo_name, std::int64_t silence_ns,
           int stop_fd);
    Volley(const Volley&) = delete;
    Volley& operator=(const Volley&) = delete;

    // Once. Returns when nothing waits and all is answered, or no connection is left.
    void run() noexcept;

    const std::vector<std::uint8_t>& results() const noexcept { return results_; }  // one for each shot
    const std::vector<std::uint8_t>& resting() const noexcept { return resting_; }  // 1: may be used again

private:
    struct Lane {
        Descriptor fd;
        bool active = false;
        bool blocked = false;  // the kernel has no room: told by EPOLLOUT
        std::size_t shot = 0;
        std::size_t sent = 0;
        std::size_t filled = 0;
        std::int64_t moved_at_ns = 0;
        std::vector<char> received;
    };

    void next(Lane& lane) noexcept;
    void send(Lane& lane) noexcept;
    void receive(Lane& lane) noexcept;
    void end(Lane& lane, bool rests) noexcept;
    void watch(Lane& lane, bool blocked) noexcept;
    void end_silent(std::int64_t now_ns) noexcept;

    const std::vector<Shot> shots_;
    const std::string echo_name_;
    const std::int64_t silence_ns_;
    Descriptor epoll_fd_;
    std::size_t next_ = 0;
    std::size_t active_ = 0;
    std::vector<Lane> lanes_;
    std::vector<std::uint8_t> results_;
    std::vector<std::uint8_t> resting_;
};

}  // namespace bentosync
