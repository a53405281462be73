// One writer per file at a time. The kernel sees to that as well, but there whoever waits spins, and the more threads
// write to one file the more of them do nothing else. Here a connection that finds its file taken rests with its unit
// in memory, its thread goes on with another one, and it is woken when it is its turn.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>

namespace bentosync {

struct FileKey {
    dev_t device = 0;
    ino_t number = 0;

    auto operator<=>(const FileKey&) const = default;
};

class Turns {
public:
    explicit Turns(int epoll_fd) : epoll_fd_(epoll_fd) {}

    // Whether `id` may write to the file now. If not, it stands in line, and its socket `fd` becomes ready once it is
    // its turn; asking again changes nothing.
    bool take(const FileKey& file, std::uint64_t id, int fd);

    // `id` writes no more, or does not want to any more: the next one in line is woken.
    void leave(const FileKey& file, std::uint64_t id);

private:
    struct Waiter {
        std::uint64_t id;
        int fd;
    };

    const int epoll_fd_;
    std::mutex mutex_;
    std::map<FileKey, std::deque<Waiter>> lines_;  // who is in front writes; none of them is empty
};

}  // namespace bentosync
