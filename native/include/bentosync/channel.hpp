// A connected, non-blocking socket, with or without TLS over it. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include "bentosync/openssl.hpp"
#include "bentosync/outlet.hpp"

namespace bentosync {

// Why bytes stopped moving for good. The numbers are part of the binding.
struct Fault {
    enum Kind : int { none = 0, ended = 1, system = 2, tls = 3, untrusted = 4, endless_head = 5, closed = 6 };

    Kind kind = none;
    int code = 0;      // errno, for `system`
    std::string text;  // what OpenSSL says, for `tls` and `untrusted`
};

// TLS, or the receiver, cannot do what it was asked; nothing was sent.
class Refused : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// What Python's ssl decided: which authorities vouch, which ciphers and certificates are good enough.
struct TrustSettings {
    std::string file;    // PEM, or empty
    std::string folder;  // or empty
    std::string ciphers;  // of TLS 1.2
    std::string suites;   // of TLS 1.3; empty: OpenSSL's own
    unsigned long verify_flags = 0;
    int version_min = 0;  // as OpenSSL numbers them; never below TLS 1.2
};

// The settings as OpenSSL wants them. Throws Refused if there is no OpenSSL, or it refuses them.
class Trust {
public:
    explicit Trust(const TrustSettings& settings);
    ~Trust();
    Trust(const Trust&) = delete;
    Trust& operator=(const Trust&) = delete;

    openssl::Context* context() const noexcept { return context_; }

private:
    openssl::Context* context_;
};

// How far a call came: `bytes` moved, and what must happen before the next one.
struct Progress {
    enum Next { go, wait_readable, wait_writable, stop };

    std::size_t bytes = 0;
    Next next = go;
};

// What OpenSSL reads from: the socket through a buffer of ours, so that a system call brings many records.
//
// OpenSSL can read ahead by itself, but then it moves all it has read to the front of its buffer, record by record.
struct Intake {
    explicit Intake(int fd) : fd(fd) {}

    int fd;
    std::size_t begin = 0, end = 0;
    bool ended = false;
    std::unique_ptr<std::uint8_t[]> bytes;
};

class Channel {
public:
    // Takes the descriptor over, also if it throws. `trust` null means no TLS; `host` is the name or address that the
    // certificate must be for.
    Channel(int fd, std::shared_ptr<const Trust> trust, const std::string& host, bool host_is_address);
    ~Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    int fd() const noexcept { return fd_; }
    bool secure() const noexcept { return session_ != nullptr; }
    // Whether bytes may be waiting here that the kernel knows nothing of any more.
    bool holds_bytes() const noexcept;

    Progress handshake();
    Progress read(std::uint8_t* to, std::size_t bytes);
    Progress write(const std::uint8_t* from, std::size_t bytes);

    // As `write`, but under TLS records may stay here until there are enough of them for a system call, or `flush`.
    Progress gather(const std::uint8_t* from, std::size_t bytes);
    Progress flush();
    std::size_t gathered() const noexcept { return outlet_.size(); }

    // Why the last call said stop.
    const Fault& fault() const noexcept { return fault_; }

private:
    Progress failed(int error);
    Progress judged(int returned);

    int fd_;
    std::shared_ptr<const Trust> trust_;
    Intake intake_;
    Outlet outlet_;
    openssl::Session* session_ = nullptr;
    Fault fault_;
};

}  // namespace bentosync
