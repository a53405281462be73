#include "bentosync/turns.hpp"

#include <sys/epoll.h>

#include <algorithm>

namespace bentosync {

bool Turns::take(const FileKey& file, std::uint64_t id, int fd) {
    const std::lock_guard lock(mutex_);
    auto& line = lines_[file];
    if (std::ranges::find(line, id, &Waiter::id) == line.end()) {
        line.push_back({id, fd});
    }
    return line.front().id == id;
}

void Turns::leave(const FileKey& file, std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = lines_.find(file);
    if (found == lines_.end()) {
        return;
    }
    auto& line = found->second;
    const bool was_its_turn = line.front().id == id;
    std::erase_if(line, [id](const Waiter& waiter) { return waiter.id == id; });
    if (line.empty()) {
        lines_.erase(found);
    } else if (was_its_turn) {
        // A socket whose request is sent takes more, so this is an event at once.
        epoll_event event{EPOLLOUT | EPOLLONESHOT, {.u64 = line.front().id}};
        epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, line.front().fd, &event);
    }
}

}  // namespace bentosync
