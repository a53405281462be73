// What OpenSSL writes to: the socket, if need be through a buffer of ours, so that a system call takes many records along.
// A call for each record of 16 KiB is a third of the cost of sending a body (docs/adr/0023).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "bentosync/openssl.hpp"

namespace bentosync {

class Outlet {
public:
    explicit Outlet(int fd) : fd_(fd) {}
    Outlet(const Outlet&) = delete;
    Outlet& operator=(const Outlet&) = delete;

    // For OpenSSL, whose own the result becomes; null if it makes none. This must outlive it.
    openssl::Source* as_source();

    // Whether what is put here may stay, until there is no more room for it, or until `flush`.
    void gather(bool gathers) noexcept { gathers_ = gathers; }
    bool empty() const noexcept { return begin_ == end_; }
    std::size_t size() const noexcept { return end_ - begin_; }

    // Neither waits. False if the socket took less than it had to: errno says why.
    bool put(const char* from, std::size_t bytes, std::size_t* moved);
    bool flush();

private:
    const int fd_;
    bool gathers_ = false;
    std::size_t begin_ = 0, end_ = 0;
    std::unique_ptr<std::uint8_t[]> bytes_;
};

}  // namespace bentosync
