// The part of a connection that sends bodies: out of the caller's memory, while it listens for the reply.
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "bentosync/connection.hpp"

namespace bentosync {

bool Connection::give(std::string head, std::vector<std::span<const std::uint8_t>> body) {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::parked) {
        watch_idle();  // what has come before a request is sent is no reply to it
    }
    if (refused()) {
        return false;
    }
    request_ = std::move(head);
    outgoing_.clear();
    outgoing_.emplace_back(reinterpret_cast<const std::uint8_t*>(request_.data()), request_.size());
    std::ranges::copy_if(body, std::back_inserter(outgoing_), [](const auto& piece) { return !piece.empty(); });
    sending_failed_ = false;
    phase_ = Phase::resting;
    return true;
}

bool Connection::converse(std::span<std::uint8_t> reply) {
    const std::lock_guard lock(mutex_);
    if (refused()) {
        return true;
    }
    destination_ = reply;
    begin(Phase::conversing);
    return false;
}

bool Connection::sent_all() {
    const std::lock_guard lock(mutex_);
    return all_sent();
}

std::size_t Connection::undelivered() {
    const std::lock_guard lock(mutex_);
    if (channel_ == nullptr) {
        return 0;
    }
    int held = 0;
    if (::ioctl(channel_->fd(), SIOCOUTQ, &held) != 0) {
        held = 0;
    }
    std::size_t bytes = static_cast<std::size_t>(std::max(held, 0)) + channel_->gathered();
    for (const auto& piece : outgoing_) {
        bytes += piece.size();
    }
    return bytes;
}

bool Connection::all_sent() const noexcept {
    return outgoing_.empty() && !sending_failed_ && (channel_ == nullptr || channel_->gathered() == 0);
}

// One turn. Listening comes first: a server may refuse a body that it has not read.
void Connection::converse_on() {
    const Progress heard = channel_->read(destination_.data(), destination_.size());
    if (heard.next == Progress::stop) {
        return end(channel_->fault());
    }
    if (heard.next == Progress::go) {
        moved();
        return end({}, heard.bytes);
    }
    const Progress sent = send_some();
    if (aborting_) {
        return;
    }
    if (sent.next == Progress::stop) {
        // What the other side said before it hung up is worth more than that it hung up: go on listening.
        sending_failed_ = true;
        outgoing_.clear();
    }
    const bool blocked = sent.next == Progress::wait_writable || heard.next == Progress::wait_writable;
    const bool more = sent.next == Progress::go && !all_sent() && !sending_failed_;
    arm(blocked || more ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

// As much as one turn may take, or the socket takes. `go`: that is all for this turn, or all there is.
Progress Connection::send_some() {
    for (std::size_t done = 0; !outgoing_.empty() && done < step_bytes && !aborting_;) {
        // TLS must be given the same bytes again after it was interrupted, and is: nothing moves on before it has.
        auto& piece = outgoing_.front();
        const Progress progress = channel_->gather(piece.data(), std::min(piece.size(), step_bytes));
        if (progress.next != Progress::go) {
            return progress;
        }
        moved();
        done += progress.bytes;
        piece = piece.subspan(progress.bytes);
        if (piece.empty()) {
            outgoing_.pop_front();
        }
    }
    return sending_failed_ || !outgoing_.empty() ? Progress{} : channel_->flush();
}

}  // namespace bentosync
