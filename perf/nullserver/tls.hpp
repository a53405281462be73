// TLS by the system's libssl.so.3, opened at run time: no headers and no link-time dependency are needed to build.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace nullserver {

struct SslContext;  // SSL_CTX
struct SslSession;  // SSL

struct EndSession {
    void operator()(SslSession* session) const noexcept;
};
using Session = std::unique_ptr<SslSession, EndSession>;

// One certificate, TLS 1.2 and 1.3; AES-128-GCM for TLS 1.3, as Amazon's endpoints choose.
class Tls {
public:
    // Throws std::runtime_error when the library, the certificate or the key is not there.
    Tls(const std::string& certificate, const std::string& key);

    // The handshake on a connected, blocking socket; null when the other side did not complete it.
    Session accept(int socket) const;

private:
    SslContext* context_;
};

std::size_t tls_read(SslSession* session, char* to, std::size_t size) noexcept;          // 0: closed
bool tls_write(SslSession* session, const char* from, std::size_t size) noexcept;        // false: closed
bool tls_flush(SslSession* session) noexcept;

}  // namespace nullserver
