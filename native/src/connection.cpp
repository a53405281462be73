#include "bentosync/connection.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

#include "bentosync/xxh3.hpp"

namespace bentosync {
namespace {

constexpr std::string_view head_end = "\r\n\r\n";

// A client that outruns its server would wake for every packet. It is woken when this much has come instead, or the
// rest of what it waits for; `nudge` sees to it that a slow server is not taken for a silent one. Half a unit: what is
// digested and written is then still in the processor's cache.
constexpr std::size_t wake_bytes = 512 << 10;
// What OpenSSL may hold of a record whose end is still on its way: those bytes do not count for the kernel any more.
constexpr std::size_t record_bytes_max = 20 << 10;

constexpr std::size_t digest_bytes = 8;

// What one call writes. Disk file systems take memory for all of a call at once, in one piece if they can: of a mebibyte
// that is 0.15 CPU-s/GiB, or 0.6 and more where a virtual machine has given large pieces back to its host
// (docs/adr/0026-how-much-one-write-writes.md).
constexpr std::size_t write_bytes = 128 << 10;

bool has_digest(std::span<const std::uint8_t> unit, const std::uint8_t* digest) noexcept {
    if (unit.size() < xxh3_bytes_min) {
        return false;
    }
    std::uint64_t wanted = 0;
    for (std::size_t i = 0; i < digest_bytes; ++i) {
        wanted = wanted << 8 | digest[i];
    }
    return xxh3_64(unit) == wanted;
}

bool written(int fd, std::span<const std::uint8_t> bytes, std::uint64_t offset) noexcept {
    while (!bytes.empty()) {
        const std::size_t wanted = std::min(bytes.size(), write_bytes);
        const ssize_t moved = ::pwrite(fd, bytes.data(), wanted, static_cast<off_t>(offset));
        if (moved <= 0) {
            return false;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(moved));
        offset += static_cast<std::uint64_t>(moved);
    }
    return true;
}

std::int64_t now_ns(clockid_t clock = CLOCK_MONOTONIC) noexcept {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileKey key_of(int fd) noexcept {
    struct stat status {};
    ::fstat(fd, &status);
    return {status.st_dev, status.st_ino};
}

}  // namespace

Connection::Connection(std::uint64_t id, int epoll_fd, std::unique_ptr<Channel> channel, std::shared_ptr<Turns> turns,
                       Announce announce)
    : id_(id),
      epoll_fd_(epoll_fd),
      process_(getpid()),
      turns_(std::move(turns)),
      announce_(std::move(announce)),
      moved_at_ns_(now_ns()),
      channel_(std::move(channel)),
      head_(head_bytes_max) {
    epoll_event none{EPOLLONESHOT, {.u64 = id_}};
    epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, channel_->fd(), &none);
    if (channel_->secure()) {
        begin(Phase::handshaking);
    }
}

// --- what the caller asks for ----------------------------------------------------------------------------------------

bool Connection::ask(std::string request) {
    const std::lock_guard lock(mutex_);
    if (refused()) {
        return true;
    }
    request_ = std::move(request);
    sent_ = 0;
    begin(Phase::sending);
    return false;
}

bool Connection::next_head() {
    const std::lock_guard lock(mutex_);
    if (refused()) {
        return true;
    }
    std::memmove(head_.data(), head_.data() + head_begin_, head_filled_ - head_begin_);
    head_filled_ -= head_begin_;
    head_begin_ = scanned_ = 0;
    if (has_head()) {
        outcome_ = {};
        return true;
    }
    begin(Phase::heading);
    return false;
}

bool Connection::fill(std::span<std::uint8_t> destination) {
    const std::lock_guard lock(mutex_);
    if (refused()) {
        return true;
    }
    destination_ = destination;
    return begin_filling();
}

bool Connection::land(std::span<std::uint8_t> unit, Landing landing) {
    const std::lock_guard lock(mutex_);
    landed_ = arrived_ = 0;
    if (refused()) {
        return true;
    }
    unit_ = unit;
    destination_ = unit.first(std::min(unit.size(), landing.bytes));
    landing_ = std::move(landing);
    file_ = key_of(landing_->fd);
    spent_ = {};
    return begin_filling();
}

// What came behind the head goes first.
bool Connection::begin_filling() {
    filled_ = 0;
    while (head_begin_ < head_filled_) {
        const std::size_t rest = std::min(destination_.size() - filled_, head_filled_ - head_begin_);
        std::memcpy(destination_.data() + filled_, head_.data() + head_begin_, rest);
        head_begin_ += rest;
        filled_ += rest;
        arrived_ += rest;
        if (filled_ < destination_.size()) {
            break;
        }
        if (unit_done()) {
            return true;
        }
        if (phase_ == Phase::queueing) {
            return false;
        }
    }
    if (filled_ == destination_.size()) {
        finish({}, filled_);
        return true;
    }
    begin(Phase::filling);
    return false;
}

Outcome Connection::settle() {
    const std::lock_guard lock(mutex_);
    return std::exchange(outcome_, {});
}

Spent Connection::spent() {
    const std::lock_guard lock(mutex_);
    return std::exchange(spent_, {});
}

std::string Connection::take_head() {
    const std::lock_guard lock(mutex_);
    std::string head(reinterpret_cast<const char*>(head_.data()) + head_begin_, head_end_ - head_begin_);
    head_begin_ = head_end_ + head_end.size();
    return head;
}

std::size_t Connection::surplus() {
    const std::lock_guard lock(mutex_);
    return head_filled_ - head_begin_;
}

bool Connection::park() {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::resting || head_begin_ != head_filled_ || !all_sent()) {
        return false;
    }
    begin(Phase::parked);
    return true;
}

bool Connection::is_parked() {
    const std::lock_guard lock(mutex_);
    return phase_ == Phase::parked;
}

double Connection::silent_seconds() const noexcept {
    return at_disk_ ? 0.0 : static_cast<double>(now_ns() - moved_at_ns_.load()) * 1e-9;
}

void Connection::nudge() {
    if (at_disk_) {
        return;  // The step in progress may last as long as the disk likes.
    }
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::filling) {
        pour();
    }
}

void Connection::abort() {
    if (getpid() != process_) {
        return;  // Forked: the thread stayed behind, its mutex may be locked for ever, and the socket is the parent's.
    }
    aborting_ = true;
    const std::lock_guard lock(mutex_);
    leave_file();
    destination_ = unit_ = {};
    outgoing_.clear();
    landing_.reset();
    if (phase_ != Phase::closed) {
        outcome_ = {{Fault::closed, 0, {}}, 0};
        phase_ = Phase::closed;
    }
    if (channel_ != nullptr) {
        epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, channel_->fd(), nullptr);
        ::shutdown(channel_->fd(), SHUT_RDWR);  // a forked child may hold the descriptor too
        channel_.reset();
    }
}

// --- what the thread does --------------------------------------------------------------------------------------------

void Connection::step() {
    const std::lock_guard lock(mutex_);
    switch (phase_) {
        case Phase::handshaking:
            return shake_hands();
        case Phase::sending:
            return send();
        case Phase::heading:
            return collect_head();
        case Phase::filling:
            return pour();
        case Phase::queueing:
            return resume();
        case Phase::conversing:
            return converse_on();
        case Phase::parked:
            return watch_idle();
        case Phase::resting:
        case Phase::closed:
            return;
    }
}

void Connection::shake_hands() {
    const Progress progress = channel_->handshake();
    moved();
    switch (progress.next) {
        case Progress::go:
            return end({});
        case Progress::stop:
            return end(channel_->fault());
        default:
            return arm_for(progress.next);
    }
}

void Connection::send() {
    while (sent_ < request_.size()) {
        const auto* from = reinterpret_cast<const std::uint8_t*>(request_.data()) + sent_;
        const Progress progress = channel_->write(from, request_.size() - sent_);
        if (progress.next == Progress::stop) {
            return end(channel_->fault());
        }
        if (progress.next != Progress::go) {
            return arm_for(progress.next);
        }
        sent_ += progress.bytes;
        moved();
    }
    head_begin_ = head_filled_ = scanned_ = 0;
    phase_ = Phase::heading;
    arm_for(Progress::wait_readable);
}

void Connection::collect_head() {
    while (!has_head()) {
        if (head_filled_ == head_.size()) {
            return end({Fault::endless_head, 0, {}});
        }
        const Progress progress = channel_->read(head_.data() + head_filled_, head_.size() - head_filled_);
        if (progress.next == Progress::stop) {
            return end(channel_->fault(), head_filled_);
        }
        if (progress.next != Progress::go) {
            return arm_for(progress.next);
        }
        head_filled_ += progress.bytes;
        moved();
    }
    end({});
}

void Connection::pour() {
    for (std::size_t done = 0; done < step_bytes;) {
        if (aborting_) {
            return;
        }
        const Progress progress = channel_->read(destination_.data() + filled_, destination_.size() - filled_);
        if (progress.next == Progress::stop) {
            return end(channel_->fault(), filled_);
        }
        if (progress.next != Progress::go) {
            expect_rest();
            return arm_for(progress.next);
        }
        filled_ += progress.bytes;
        done += progress.bytes;
        arrived_ += progress.bytes;
        moved();
        if (filled_ == destination_.size() && unit_done()) {
            return announce_(id_);
        }
        if (phase_ == Phase::queueing) {
            return;
        }
    }
    arm(EPOLLIN | EPOLLOUT);  // Others first; but TLS may hold what the kernel will not announce again.
}

// The memory is full. True if with that the operation has ended; else it goes on with the next unit, or stands in line.
bool Connection::unit_done() {
    bool proven = false;
    if (landing_) {
        const std::int64_t began = now_ns();
        proven = has_digest(destination_, landing_->digests.data());
        spent_.digests += now_ns() - began;
    }
    if (!proven) {
        finish({}, filled_);
        return true;
    }
    at_disk_ = true;
    if (!turns_->take(file_, id_, channel_->fd())) {
        phase_ = Phase::queueing;
        return false;
    }
    return write_unit();
}

// It is this connection's turn.
bool Connection::write_unit() {
    const std::int64_t began = now_ns(), cpu_began = now_ns(CLOCK_THREAD_CPUTIME_ID);
    const bool good = written(landing_->fd, destination_, landing_->offset);
    spent_.disk_cpu += now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_began;
    spent_.disk += now_ns() - began;
    leave_file();
    moved();
    if (!good) {
        finish({}, filled_);
        return true;
    }
    landed_ += filled_;
    landing_->offset += filled_;
    landing_->bytes -= filled_;
    landing_->digests.erase(landing_->digests.begin(), landing_->digests.begin() + digest_bytes);
    filled_ = 0;
    if (landing_->bytes == 0) {
        finish({}, 0);
        return true;
    }
    destination_ = unit_.first(std::min(unit_.size(), landing_->bytes));
    return false;
}

void Connection::leave_file() {
    if (at_disk_.exchange(false)) {
        turns_->leave(file_, id_);
    }
}

// Woken out of the line, perhaps before its turn.
void Connection::resume() {
    if (!turns_->take(file_, id_, channel_->fd())) {
        return;
    }
    phase_ = Phase::filling;
    if (write_unit() || begin_filling()) {
        announce_(id_);
    }
}

void Connection::watch_idle() {
    std::uint8_t unasked = 0;
    // TLS has messages of its own, session tickets among them: those are no breach, and are taken in by this.
    const Progress progress = channel_->read(&unasked, 1);
    if (progress.next == Progress::wait_readable || progress.next == Progress::wait_writable) {
        return arm_for(progress.next);
    }
    phase_ = Phase::closed;
}

// --- small pieces ----------------------------------------------------------------------------------------------------

void Connection::begin(Phase phase) {
    phase_ = phase;
    outcome_ = {};
    moved();
    if (phase == Phase::filling) {
        expect_rest();
    } else {
        expect(1);
    }
    const bool at_once = phase == Phase::handshaking || phase == Phase::sending ||
                         phase == Phase::conversing || channel_->holds_bytes();
    arm(at_once ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void Connection::arm(std::uint32_t events) {
    epoll_event event{events | EPOLLONESHOT, {.u64 = id_}};
    epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, channel_->fd(), &event);
}

void Connection::arm_for(Progress::Next next) { arm(next == Progress::wait_writable ? EPOLLOUT : EPOLLIN); }

void Connection::expect(std::size_t bytes) {
    if (bytes != expected_) {
        const int value = static_cast<int>(bytes);
        setsockopt(channel_->fd(), SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
        expected_ = bytes;
    }
}

void Connection::expect_rest() {
    const std::size_t unseen = channel_->secure() ? record_bytes_max : 0;
    expect(std::clamp<std::size_t>(left() > unseen ? left() - unseen : 1, 1, wake_bytes));
}

std::size_t Connection::left() const noexcept {
    return (landing_ ? landing_->bytes : destination_.size()) - filled_;
}

void Connection::finish(Fault fault, std::size_t bytes) {
    outcome_ = {std::move(fault), bytes};
    destination_ = unit_ = {};
    landing_.reset();
    phase_ = Phase::resting;
}

void Connection::end(Fault fault, std::size_t bytes) {
    finish(std::move(fault), bytes);
    announce_(id_);
}

// Whether this connection is beyond use; the operation that was asked for has then ended with that.
bool Connection::refused() {
    if (phase_ == Phase::resting || phase_ == Phase::parked) {
        return false;
    }
    outcome_ = {{Fault::closed, 0, {}}, 0};
    return true;
}

void Connection::moved() noexcept { moved_at_ns_ = now_ns(); }

bool Connection::has_head() {
    const std::string_view bytes(reinterpret_cast<const char*>(head_.data()), head_filled_);
    const auto found = bytes.find(head_end, scanned_);
    if (found == std::string_view::npos) {
        scanned_ = head_filled_ - std::min(head_filled_, head_end.size() - 1);
        return false;
    }
    head_end_ = found;
    return true;
}

}  // namespace bentosync
