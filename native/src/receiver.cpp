#include "bentosync/receiver.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace bentosync {
namespace {

constexpr std::uint64_t wake_id = 0;  // connections are numbered from 1

void raise_flag(int fd) noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);
}

int checked(int fd) {
    if (fd < 0) {
        throw std::system_error(errno, std::generic_category(), "the receiver gets no descriptor");
    }
    return fd;
}

// The process's signals are for its other threads, and a SIGPIPE of OpenSSL's is for nobody.
void block_signals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

Announcements::Announcements() : fd_(checked(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))) {}

void Announcements::close() {
    const std::lock_guard lock(mutex_);
    if (fd_ >= 0) {
        ::close(fd_);
        fd_ = -1;
    }
}

void Announcements::add(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    ended_.push_back(id);
    if (ended_.size() == 1 && fd_ >= 0) {
        raise_flag(fd_);
    }
}

std::vector<std::uint64_t> Announcements::take() {
    const std::lock_guard lock(mutex_);
    std::uint64_t count = 0;
    if (fd_ >= 0) {
        [[maybe_unused]] const auto read = ::read(fd_, &count, sizeof count);
    }
    return std::exchange(ended_, {});
}

Receiver::Receiver(unsigned threads)
    : process_(getpid()),
      announcements_(std::make_shared<Announcements>()),
      epoll_fd_(checked(epoll_create1(EPOLL_CLOEXEC))),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      turns_(std::make_shared<Turns>(epoll_fd_)) {
    epoll_event event{EPOLLIN, {.u64 = wake_id}};
    epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, checked(wake_fd_), &event);
    for (unsigned i = 0; i < std::max(1u, threads); ++i) {
        threads_.emplace_back([this] {
            block_signals();
            run();
        });
    }
}

std::shared_ptr<Connection> Receiver::adopt(int fd, std::shared_ptr<const Trust> trust, const std::string& host,
                                            bool host_is_address) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    auto channel = std::make_unique<Channel>(fd, std::move(trust), host, host_is_address);
    const std::lock_guard lock(mutex_);
    if (stopping_) {
        throw Refused("the receiver was stopped");
    }
    const std::uint64_t id = ++last_id_;
    auto connection = std::make_shared<Connection>(
        id, epoll_fd_, std::move(channel), turns_, [told = announcements_](std::uint64_t ended) { told->add(ended); });
    connections_.emplace(id, connection);
    std::erase_if(connections_, [](const auto& entry) { return entry.second.expired(); });
    return connection;
}

std::shared_ptr<Connection> Receiver::find(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(id);
    return found == connections_.end() ? nullptr : found->second.lock();
}

// One event at a time: what else is ready is for the others.
void Receiver::run() {
    epoll_event event{};
    while (!stopping_) {
        if (epoll_wait(epoll_fd_, &event, 1, -1) != 1 || stopping_) {
            continue;
        }
        if (const auto connection = find(event.data.u64)) {
            connection->step();
        }
    }
}

void Receiver::halt() {
    if (getpid() != process_) {
        // Forked: there are no threads here to wait for, and a std::thread must not be destroyed unjoined.
        [[maybe_unused]] auto* left_behind = new std::vector<std::thread>(std::move(threads_));
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    if (wake_fd_ >= 0) {
        raise_flag(wake_fd_);
    }
    for (auto& thread : threads_) {
        thread.join();
    }
    threads_.clear();
}

void Receiver::stop() {
    halt();
    if (getpid() != process_ || epoll_fd_ < 0) {
        return;
    }
    decltype(connections_) connections;
    {
        const std::lock_guard lock(mutex_);
        connections.swap(connections_);
    }
    for (const auto& [id, weak] : connections) {
        if (const auto connection = weak.lock()) {
            connection->abort();
        }
    }
    ::close(wake_fd_);
    ::close(epoll_fd_);
    epoll_fd_ = wake_fd_ = -1;
    announcements_->close();
}

}  // namespace bentosync
