#include "bentosync/channel.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bentosync {
namespace {

// From OpenSSL's headers; they are part of its ABI.
constexpr int ctrl_mode = 33;                // SSL_CTRL_MODE
constexpr int ctrl_server_name = 55;         // SSL_CTRL_SET_TLSEXT_HOSTNAME
constexpr int ctrl_version_min = 123;        // SSL_CTRL_SET_MIN_PROTO_VERSION
constexpr long mode_partial_write = 0x1;     // SSL_MODE_ENABLE_PARTIAL_WRITE
constexpr long mode_moving_buffer = 0x2;     // SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
constexpr std::uint64_t options = (1u << 7)  // SSL_OP_IGNORE_UNEXPECTED_EOF: Content-Length says whether all came
                                  | (1u << 17)   // SSL_OP_NO_COMPRESSION
                                  | (1u << 30);  // SSL_OP_NO_RENEGOTIATION
constexpr int verify_peer = 1;
constexpr unsigned host_no_partial_wildcards = 0x4;
constexpr int tls_1_2 = 0x0303;
constexpr int error_want_read = 2, error_want_write = 3, error_syscall = 5, error_zero_return = 6;

constexpr int source_kind = 0x0400 | 100;  // BIO_TYPE_SOURCE_SINK, and a number of ours
constexpr int flag_read = 0x01, flag_should_retry = 0x08, flags_of_retry = 0x0F;
constexpr int source_ctrl_eof = 2;

// 2 GiB of records cost 16,500 calls of recv, where OpenSSL's own reading ahead by 64 KiB made 67,000.
constexpr std::size_t intake_bytes = 128 << 10;

const openssl::Library& needed() {
    const auto* library = openssl::library();
    if (library == nullptr) {
        throw Refused("OpenSSL 3 was not found");
    }
    return *library;
}

std::string reason(const openssl::Library& ssl) {
    const char* text = ssl.ERR_reason_error_string(ssl.ERR_peek_last_error());
    return text != nullptr ? text : "unknown reason";
}

bool may_try_again(int error) { return error == EAGAIN || error == EINTR; }

int take_in(openssl::Source* source, char* to, std::size_t bytes, std::size_t* moved) {
    const auto& ssl = *openssl::library();
    auto& intake = *static_cast<Intake*>(ssl.BIO_get_data(source));
    ssl.BIO_clear_flags(source, flags_of_retry);
    if (intake.begin == intake.end) {
        if (intake.bytes == nullptr) {
            intake.bytes = std::make_unique_for_overwrite<std::uint8_t[]>(intake_bytes);
        }
        const ssize_t got = ::recv(intake.fd, intake.bytes.get(), intake_bytes, MSG_DONTWAIT);
        if (got <= 0) {
            intake.ended = got == 0;
            if (got < 0 && may_try_again(errno)) {
                ssl.BIO_set_flags(source, flag_read | flag_should_retry);
            }
            return 0;
        }
        intake.begin = 0;
        intake.end = static_cast<std::size_t>(got);
    }
    *moved = std::min(bytes, intake.end - intake.begin);
    std::memcpy(to, intake.bytes.get() + intake.begin, *moved);
    intake.begin += *moved;
    return 1;
}

long answer(openssl::Source* source, int command, long, void*) {
    const auto& intake = *static_cast<const Intake*>(openssl::library()->BIO_get_data(source));
    return command == source_ctrl_eof && intake.ended ? 1 : 0;
}

// Made once, and never freed, like the library itself.
const openssl::SourceMethod* source_method() {
    static const openssl::SourceMethod* const made = [] {
        const auto& ssl = *openssl::library();
        auto* method = ssl.BIO_meth_new(source_kind, "bentosync");
        const bool whole = method != nullptr && ssl.BIO_meth_set_read_ex(method, take_in) == 1 &&
                           ssl.BIO_meth_set_ctrl(method, answer) == 1;
        return whole ? method : nullptr;
    }();
    return made;
}

bool connect(openssl::Session* session, Intake& intake, Outlet& outlet) {
    const auto& ssl = *openssl::library();
    auto* source = source_method() == nullptr ? nullptr : ssl.BIO_new(source_method());
    if (source == nullptr) {
        return false;
    }
    ssl.BIO_set_data(source, &intake);
    ssl.BIO_set_init(source, 1);
    auto* sink = outlet.as_source();
    ssl.SSL_set_bio(session, source, sink);  // the session owns both now
    return sink != nullptr;
}

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace

Trust::Trust(const TrustSettings& settings) : context_(nullptr) {
    const auto& ssl = needed();
    context_ = ssl.SSL_CTX_new(ssl.TLS_client_method());
    if (context_ == nullptr) {
        throw Refused("OpenSSL makes no context: " + reason(ssl));
    }
    ssl.SSL_CTX_ctrl(context_, ctrl_version_min, std::max(settings.version_min, tls_1_2), nullptr);
    ssl.SSL_CTX_ctrl(context_, ctrl_mode, mode_partial_write | mode_moving_buffer, nullptr);
    ssl.SSL_CTX_set_options(context_, options);
    ssl.SSL_CTX_set_verify(context_, verify_peer, nullptr);
    auto* parameters = ssl.SSL_CTX_get0_param(context_);
    ssl.X509_VERIFY_PARAM_set_flags(parameters, settings.verify_flags);
    ssl.X509_VERIFY_PARAM_set_hostflags(parameters, host_no_partial_wildcards);
    ssl.ERR_clear_error();
    const bool ciphers =
        (settings.ciphers.empty() || ssl.SSL_CTX_set_cipher_list(context_, settings.ciphers.c_str()) == 1) &&
        (settings.suites.empty() || ssl.SSL_CTX_set_ciphersuites(context_, settings.suites.c_str()) == 1);
    const bool nobody = settings.file.empty() && settings.folder.empty();
    if (!ciphers || (!nobody && ssl.SSL_CTX_load_verify_locations(context_, or_null(settings.file),
                                                                  or_null(settings.folder)) != 1)) {
        const std::string why = reason(ssl);
        ssl.SSL_CTX_free(context_);
        throw Refused("OpenSSL refuses the trust settings: " + why);
    }
}

Trust::~Trust() { openssl::library()->SSL_CTX_free(context_); }

Channel::Channel(int fd, std::shared_ptr<const Trust> trust, const std::string& host, bool host_is_address)
    : fd_(fd), trust_(std::move(trust)), intake_(fd), outlet_(fd) {
    if (trust_ == nullptr) {
        return;
    }
    const auto& ssl = *openssl::library();
    session_ = ssl.SSL_new(trust_->context());
    bool ready = session_ != nullptr && connect(session_, intake_, outlet_);
    if (ready) {
        ssl.SSL_set_connect_state(session_);
        auto* parameters = ssl.SSL_get0_param(session_);
        if (host_is_address) {
            ready = ssl.X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str()) == 1;
        } else {
            ready = ssl.X509_VERIFY_PARAM_set1_host(parameters, host.data(), host.size()) == 1 &&
                    ssl.SSL_ctrl(session_, ctrl_server_name, 0, const_cast<char*>(host.c_str())) == 1;
        }
    }
    if (!ready) {
        if (session_ != nullptr) {
            ssl.SSL_free(session_);
        }
        ::close(fd_);
        throw Refused("OpenSSL makes no session for this host");
    }
}

Channel::~Channel() {
    if (session_ != nullptr) {
        openssl::library()->SSL_free(session_);
    }
    ::close(fd_);
}

bool Channel::holds_bytes() const noexcept {
    return intake_.begin < intake_.end || (session_ != nullptr && openssl::library()->SSL_has_pending(session_) == 1);
}

Progress Channel::handshake() {
    if (session_ == nullptr) {
        return {};
    }
    const auto& ssl = *openssl::library();
    ssl.ERR_clear_error();
    errno = 0;
    const int returned = ssl.SSL_do_handshake(session_);
    return returned == 1 ? Progress{} : judged(returned);
}

Progress Channel::read(std::uint8_t* to, std::size_t bytes) {
    if (session_ != nullptr) {
        const auto& ssl = *openssl::library();
        std::size_t moved = 0;
        ssl.ERR_clear_error();
        errno = 0;
        const int returned = ssl.SSL_read_ex(session_, to, bytes, &moved);
        return returned == 1 ? Progress{moved} : judged(returned);
    }
    const ssize_t moved = ::recv(fd_, to, bytes, MSG_DONTWAIT);
    if (moved > 0) {
        return {static_cast<std::size_t>(moved)};
    }
    if (moved == 0) {
        fault_ = {Fault::ended, 0, {}};
        return {0, Progress::stop};
    }
    return may_try_again(errno) ? Progress{0, Progress::wait_readable} : failed(errno);
}

Progress Channel::write(const std::uint8_t* from, std::size_t bytes) {
    if (session_ != nullptr) {
        const auto& ssl = *openssl::library();
        std::size_t moved = 0;
        ssl.ERR_clear_error();
        errno = 0;
        const int returned = ssl.SSL_write_ex(session_, from, bytes, &moved);
        return returned == 1 ? Progress{moved} : judged(returned);
    }
    const ssize_t moved = ::send(fd_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (moved >= 0) {
        return {static_cast<std::size_t>(moved)};
    }
    return may_try_again(errno) ? Progress{0, Progress::wait_writable} : failed(errno);
}

Progress Channel::gather(const std::uint8_t* from, std::size_t bytes) {
    outlet_.gather(true);
    const Progress progress = write(from, bytes);
    outlet_.gather(false);
    return progress;
}

Progress Channel::flush() {
    if (outlet_.flush()) {
        return {};
    }
    return may_try_again(errno) ? Progress{0, Progress::wait_writable} : failed(errno);
}

Progress Channel::failed(int error) {
    fault_ = {Fault::system, error, {}};
    return {0, Progress::stop};
}

Progress Channel::judged(int returned) {
    const int system_error = errno;
    const auto& ssl = *openssl::library();
    switch (ssl.SSL_get_error(session_, returned)) {
        case error_want_read:
            return {0, Progress::wait_readable};
        case error_want_write:
            return {0, Progress::wait_writable};
        case error_zero_return:
            fault_ = {Fault::ended, 0, {}};
            break;
        case error_syscall:
            fault_ = system_error == 0 ? Fault{Fault::ended, 0, {}} : Fault{Fault::system, system_error, {}};
            break;
        default:
            if (const long verdict = ssl.SSL_get_verify_result(session_); verdict != 0) {
                fault_ = {Fault::untrusted, 0, ssl.X509_verify_cert_error_string(verdict)};
            } else {
                fault_ = {Fault::tls, 0, reason(ssl)};
            }
    }
    return {0, Progress::stop};
}

}  // namespace bentosync
