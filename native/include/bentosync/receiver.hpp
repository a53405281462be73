// The threads that drive connections, and one descriptor that says when operations have ended.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bentosync/connection.hpp"

namespace bentosync {

// What has ended and was not yet asked about. `fd` is readable while there is any.
class Announcements {
public:
    Announcements();
    ~Announcements() { close(); }
    Announcements(const Announcements&) = delete;
    Announcements& operator=(const Announcements&) = delete;

    int fd() const noexcept { return fd_; }
    void add(std::uint64_t id);
    std::vector<std::uint64_t> take();
    void close();  // tell no more

private:
    std::atomic<int> fd_;
    std::mutex mutex_;
    std::vector<std::uint64_t> ended_;
};

// All threads wait for the same sockets, and no connection is tied to any of them: what is ready is taken by whoever is
// free, so one slow disk or one busy file holds up one thread. How many there are costs nothing, also where one would
// do: an event goes to a single thread, and brings half a mebibyte (perf/exp_receive.py).
class Receiver {
public:
    explicit Receiver(unsigned threads);
    ~Receiver() { stop(); }
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

    int fd() const noexcept { return announcements_->fd(); }
    std::vector<std::uint64_t> ended() { return announcements_->take(); }

    // Takes over a connected socket, whatever happens. Throws Refused when stopped, or where TLS does.
    std::shared_ptr<Connection> adopt(int fd, std::shared_ptr<const Trust> trust, const std::string& host,
                                      bool host_is_address);

    // Ends the threads, closes every connection and `fd`. Idempotent; in a forked child it does nothing.
    void stop();

    // Ends the threads and nothing else: for the end of a process, where others may still wait for an operation, and
    // would only complain about one that was broken off.
    void halt();

private:
    void run();
    std::shared_ptr<Connection> find(std::uint64_t id);

    const pid_t process_;
    const std::shared_ptr<Announcements> announcements_;
    int epoll_fd_;
    int wake_fd_;
    const std::shared_ptr<Turns> turns_;
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;  // guards the two below
    std::unordered_map<std::uint64_t, std::weak_ptr<Connection>> connections_;
    std::uint64_t last_id_ = 0;
    std::vector<std::thread> threads_;
};

}  // namespace bentosync
