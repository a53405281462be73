// One HTTP/1.1 connection as the receiver's thread drives it: TLS, a request out, a head in, a body into memory that
// somebody else owns. It does not understand what it carries; heads are judged, and lengths known, on the other side.
//
// Every operation is started by one caller and ends once: `ask`, `next_head` and `fill` say true if it has ended
// already (`land` and `converse` too); otherwise its end is announced through `Announce`, and `settle` tells how it went.
//
// Whoever holds the mutex may touch the caller's memory, nobody else: when `abort` returns, nothing will write there.
// It waits for the step in progress at most, which ends after `step_bytes`, or with the record it is working on.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bentosync/channel.hpp"
#include "bentosync/turns.hpp"

namespace bentosync {

// How an operation ended: `bytes` are in the caller's memory, also where there is a fault.
struct Outcome {
    Fault fault;
    std::size_t bytes = 0;
};

// Where a body goes that is proven on its way: unit by unit through the caller's memory, digested while hot, and then
// written to a file.
struct Landing {
    int fd = -1;
    std::uint64_t offset = 0;           // of the first byte, in the file
    std::size_t bytes = 0;              // all of them; the last unit may be shorter than the memory
    std::vector<std::uint8_t> digests;  // XXH3-64 of each unit, 8 bytes, big-endian
};

// What became of the time of a landing, in nanoseconds. `disk_cpu` is that part of `disk` which was no waiting.
struct Spent {
    std::int64_t digests = 0, disk = 0, disk_cpu = 0;
};

class Connection {
public:
    using Announce = std::function<void(std::uint64_t id)>;

    static constexpr std::size_t head_bytes_max = 64 << 10;
    static constexpr std::size_t step_bytes = 1 << 20;

    // Registers itself with `epoll_fd` under `id`. Its first operation, the handshake, is under way at once if there
    // is TLS.
    Connection(std::uint64_t id, int epoll_fd, std::unique_ptr<Channel> channel, std::shared_ptr<Turns> turns,
               Announce announce);
    ~Connection() { abort(); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    std::uint64_t id() const noexcept { return id_; }

    bool ask(std::string request);                   // send a request, then wait for the head of a reply
    bool next_head();                                // wait for the head behind the one that was taken
    bool fill(std::span<std::uint8_t> destination);  // wait until so many body bytes have come
    // The same, through `unit` into a file. It also ends with a unit that is not what it should be, or cannot be
    // written: that one is then in the caller's memory, whole, and its to judge.
    bool land(std::span<std::uint8_t> unit, Landing landing);
    // The other way: a request with a body that stays the caller's memory, until `sent_all` or `abort`. False, and no use
    // any more, if something came that nobody had asked for. `converse` sends on until anything of a reply has come.
    bool give(std::string head, std::vector<std::span<const std::uint8_t>> body);
    bool converse(std::span<std::uint8_t> reply);
    bool sent_all();            // false also if the other side would not take it all
    std::size_t undelivered();  // bytes of the request that the other side has not acknowledged
    std::size_t landed() const noexcept { return landed_; }    // bytes proven and written since `land`
    std::size_t arrived() const noexcept { return arrived_; }  // those, and what has come of the next unit
    Outcome settle();                                        // how the last operation ended
    Spent spent();                                           // of the last landing; to be asked once

    std::string take_head();  // the head that has come, without the empty line; what follows it stays here
    std::size_t surplus();    // bytes that came behind the head and nobody has taken

    bool park();       // rest until the next `ask`; false, and no use any more, if there are bytes nobody asked for
    bool is_parked();  // false as soon as the other side has closed it, or has said something unasked
    double silent_seconds() const noexcept;  // since a byte moved or an operation began; 0 while the disk is to blame
    void nudge();      // take what bytes have come, however few; a body only

    void abort();  // close the socket now; idempotent
    void step();   // the receiver's thread: go on as far as the socket lets

private:
    enum class Phase { resting, handshaking, sending, heading, filling, queueing, conversing, parked, closed };

    void begin(Phase phase);
    bool begin_filling();
    bool unit_done();
    bool write_unit();
    void leave_file();
    void resume();
    std::size_t left() const noexcept;
    void arm(std::uint32_t events);
    void arm_for(Progress::Next next);
    void expect(std::size_t bytes);
    void expect_rest();
    void finish(Fault fault, std::size_t bytes);
    void end(Fault fault, std::size_t bytes = 0);
    bool refused();
    void moved() noexcept;
    bool has_head();

    void shake_hands();
    void send();
    void collect_head();
    void pour();
    void watch_idle();
    void converse_on();
    Progress send_some();
    bool all_sent() const noexcept;

    const std::uint64_t id_;
    const int epoll_fd_;
    const pid_t process_;
    const std::shared_ptr<Turns> turns_;
    const Announce announce_;
    std::atomic<bool> aborting_{false};
    std::atomic<std::int64_t> moved_at_ns_;

    std::mutex mutex_;  // guards all that follows
    std::unique_ptr<Channel> channel_;
    Phase phase_ = Phase::resting;
    std::string request_;
    std::size_t sent_ = 0;
    std::deque<std::span<const std::uint8_t>> outgoing_;  // what `give` was given, `request_` first, and is not sent
    bool sending_failed_ = false;
    std::vector<std::uint8_t> head_;
    std::size_t head_begin_ = 0, head_filled_ = 0, head_end_ = 0, scanned_ = 0;
    std::span<std::uint8_t> destination_;
    std::size_t filled_ = 0;
    std::optional<Landing> landing_;
    FileKey file_;
    Spent spent_;
    std::atomic<bool> at_disk_{false};
    std::span<std::uint8_t> unit_;
    std::atomic<std::size_t> landed_{0}, arrived_{0};
    std::size_t expected_ = 1;
    Outcome outcome_;
};

}  // namespace bentosync
