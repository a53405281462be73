#include "tls.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <stdexcept>

namespace nullserver {
namespace {

struct Bio;

// Prototypes and constants of OpenSSL 3 (ssl.h, bio.h); both are part of its ABI.
constexpr int filetype_pem = 1;
constexpr int ctrl_set_read_ahead = 41;
constexpr int ctrl_flush = 11;
constexpr int set_buffer_size = 117;
// One system call for 16 records in either direction.
constexpr int buffer_bytes = 256 << 10;

void* library() {
    static void* const handle = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        throw std::runtime_error(dlerror());
    }
    return handle;
}

template <typename Function>
Function* symbol(const char* name) {
    // dlsym looks into libcrypto too, which libssl depends on.
    void* const found = dlsym(library(), name);
    if (found == nullptr) {
        throw std::runtime_error(dlerror());
    }
    return reinterpret_cast<Function*>(found);
}

struct Api {
    using Method = const void*();
    Method* server_method = symbol<Method>("TLS_server_method");
    SslContext* (*context_new)(const void*) = symbol<SslContext*(const void*)>("SSL_CTX_new");
    int (*use_chain)(SslContext*, const char*) =
        symbol<int(SslContext*, const char*)>("SSL_CTX_use_certificate_chain_file");
    int (*use_key)(SslContext*, const char*, int) =
        symbol<int(SslContext*, const char*, int)>("SSL_CTX_use_PrivateKey_file");
    long (*context_ctrl)(SslContext*, int, long, void*) = symbol<long(SslContext*, int, long, void*)>("SSL_CTX_ctrl");
    int (*set_ciphersuites)(SslContext*, const char*) =
        symbol<int(SslContext*, const char*)>("SSL_CTX_set_ciphersuites");
    void (*set_read_buffer)(SslContext*, std::size_t) =
        symbol<void(SslContext*, std::size_t)>("SSL_CTX_set_default_read_buffer_len");
    SslSession* (*session_new)(SslContext*) = symbol<SslSession*(SslContext*)>("SSL_new");
    void (*session_free)(SslSession*) = symbol<void(SslSession*)>("SSL_free");
    void (*set_bio)(SslSession*, Bio*, Bio*) = symbol<void(SslSession*, Bio*, Bio*)>("SSL_set_bio");
    Bio* (*get_wbio)(const SslSession*) = symbol<Bio*(const SslSession*)>("SSL_get_wbio");
    int (*accept)(SslSession*) = symbol<int(SslSession*)>("SSL_accept");
    int (*read)(SslSession*, void*, int) = symbol<int(SslSession*, void*, int)>("SSL_read");
    int (*write)(SslSession*, const void*, int) = symbol<int(SslSession*, const void*, int)>("SSL_write");
    Bio* (*bio_socket)(int, int) = symbol<Bio*(int, int)>("BIO_new_socket");
    const void* (*bio_f_buffer)() = symbol<const void*()>("BIO_f_buffer");
    Bio* (*bio_new)(const void*) = symbol<Bio*(const void*)>("BIO_new");
    Bio* (*bio_push)(Bio*, Bio*) = symbol<Bio*(Bio*, Bio*)>("BIO_push");
    long (*bio_ctrl)(Bio*, int, long, void*) = symbol<long(Bio*, int, long, void*)>("BIO_ctrl");
    long (*bio_int_ctrl)(Bio*, int, long, int) = symbol<long(Bio*, int, long, int)>("BIO_int_ctrl");
};

const Api& api() {
    static const Api loaded;
    return loaded;
}

}  // namespace

void EndSession::operator()(SslSession* session) const noexcept { api().session_free(session); }

Tls::Tls(const std::string& certificate, const std::string& key) {
    const Api& ssl = api();
    context_ = ssl.context_new(ssl.server_method());
    if (context_ == nullptr || ssl.use_chain(context_, certificate.c_str()) != 1 ||
        ssl.use_key(context_, key.c_str(), filetype_pem) != 1 ||
        ssl.set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256") != 1) {
        throw std::runtime_error("cannot use certificate " + certificate + " with key " + key);
    }
    ssl.context_ctrl(context_, ctrl_set_read_ahead, 1, nullptr);
    ssl.set_read_buffer(context_, buffer_bytes);
}

Session Tls::accept(int socket) const {
    const Api& ssl = api();
    Session session(ssl.session_new(context_));
    Bio* const out = ssl.bio_push(ssl.bio_new(ssl.bio_f_buffer()), ssl.bio_socket(socket, 0));
    ssl.bio_int_ctrl(out, set_buffer_size, buffer_bytes, 1);
    ssl.set_bio(session.get(), ssl.bio_socket(socket, 0), out);
    return ssl.accept(session.get()) == 1 ? std::move(session) : nullptr;
}

std::size_t tls_read(SslSession* session, char* to, std::size_t size) noexcept {
    const int count = api().read(session, to, static_cast<int>(std::min<std::size_t>(size, 1 << 30)));
    return count > 0 ? static_cast<std::size_t>(count) : 0;
}

bool tls_write(SslSession* session, const char* from, std::size_t size) noexcept {
    return size == 0 || api().write(session, from, static_cast<int>(size)) == static_cast<int>(size);
}

bool tls_flush(SslSession* session) noexcept {
    const Api& ssl = api();
    return ssl.bio_ctrl(ssl.get_wbio(session), ctrl_flush, 0, nullptr) == 1;
}

}  // namespace nullserver
