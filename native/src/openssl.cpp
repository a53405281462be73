#include "bentosync/openssl.hpp"

#include <dlfcn.h>

namespace bentosync::openssl {
namespace {

template <typename Function>
bool find(void* from, const char* name, Function& into) noexcept {
    into = reinterpret_cast<Function>(dlsym(from, name));
    return into != nullptr;
}

// Never closed: OpenSSL cleans up by a handler at exit, and that needs its code.
const Library* open() noexcept {
    void* crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    void* ssl = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (crypto == nullptr || ssl == nullptr) {
        return nullptr;
    }
    static Library found;
    bool whole = true;
#define BENTOSYNC_FIND(from, name) whole = find(from, #name, found.name) && whole
    BENTOSYNC_FIND(crypto, OpenSSL_version);
    BENTOSYNC_FIND(crypto, ERR_peek_last_error);
    BENTOSYNC_FIND(crypto, ERR_clear_error);
    BENTOSYNC_FIND(crypto, ERR_reason_error_string);
    BENTOSYNC_FIND(crypto, BIO_meth_new);
    BENTOSYNC_FIND(crypto, BIO_meth_set_read_ex);
    BENTOSYNC_FIND(crypto, BIO_meth_set_write_ex);
    BENTOSYNC_FIND(crypto, BIO_meth_set_ctrl);
    BENTOSYNC_FIND(crypto, BIO_new);
    BENTOSYNC_FIND(crypto, BIO_set_data);
    BENTOSYNC_FIND(crypto, BIO_get_data);
    BENTOSYNC_FIND(crypto, BIO_set_init);
    BENTOSYNC_FIND(crypto, BIO_set_flags);
    BENTOSYNC_FIND(crypto, BIO_clear_flags);
    BENTOSYNC_FIND(crypto, X509_VERIFY_PARAM_set_flags);
    BENTOSYNC_FIND(crypto, X509_VERIFY_PARAM_set_hostflags);
    BENTOSYNC_FIND(crypto, X509_VERIFY_PARAM_set1_host);
    BENTOSYNC_FIND(crypto, X509_VERIFY_PARAM_set1_ip_asc);
    BENTOSYNC_FIND(crypto, X509_verify_cert_error_string);
    BENTOSYNC_FIND(ssl, TLS_client_method);
    BENTOSYNC_FIND(ssl, SSL_CTX_new);
    BENTOSYNC_FIND(ssl, SSL_CTX_free);
    BENTOSYNC_FIND(ssl, SSL_CTX_ctrl);
    BENTOSYNC_FIND(ssl, SSL_CTX_set_options);
    BENTOSYNC_FIND(ssl, SSL_CTX_set_cipher_list);
    BENTOSYNC_FIND(ssl, SSL_CTX_load_verify_locations);
    BENTOSYNC_FIND(ssl, SSL_CTX_set_verify);
    BENTOSYNC_FIND(ssl, SSL_CTX_get0_param);
    BENTOSYNC_FIND(ssl, SSL_CTX_set_ciphersuites);
    BENTOSYNC_FIND(ssl, SSL_new);
    BENTOSYNC_FIND(ssl, SSL_free);
    BENTOSYNC_FIND(ssl, SSL_set_bio);
    BENTOSYNC_FIND(ssl, SSL_set_connect_state);
    BENTOSYNC_FIND(ssl, SSL_ctrl);
    BENTOSYNC_FIND(ssl, SSL_get0_param);
    BENTOSYNC_FIND(ssl, SSL_do_handshake);
    BENTOSYNC_FIND(ssl, SSL_read_ex);
    BENTOSYNC_FIND(ssl, SSL_write_ex);
    BENTOSYNC_FIND(ssl, SSL_get_error);
    BENTOSYNC_FIND(ssl, SSL_has_pending);
    BENTOSYNC_FIND(ssl, SSL_get_verify_result);
#undef BENTOSYNC_FIND
    return whole ? &found : nullptr;
}

}  // namespace

const Library* library() noexcept {
    static const Library* const opened = open();
    return opened;
}

}  // namespace bentosync::openssl
