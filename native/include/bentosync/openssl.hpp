// OpenSSL 3, found at run time: the extension links against nothing, and where the library is missing that is a value,
// not a crash. Only what is used here is declared, with the prototypes that OpenSSL 3 promises to keep.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bentosync::openssl {

struct Method;
struct Context;
struct Session;
struct VerifyParameters;
struct Source;
struct SourceMethod;

struct Library {
    const char* (*OpenSSL_version)(int what);
    unsigned long (*ERR_peek_last_error)();
    void (*ERR_clear_error)();
    const char* (*ERR_reason_error_string)(unsigned long code);

    const Method* (*TLS_client_method)();
    Context* (*SSL_CTX_new)(const Method*);
    void (*SSL_CTX_free)(Context*);
    long (*SSL_CTX_ctrl)(Context*, int command, long number, void* pointer);
    std::uint64_t (*SSL_CTX_set_options)(Context*, std::uint64_t options);
    int (*SSL_CTX_set_cipher_list)(Context*, const char* list);
    int (*SSL_CTX_load_verify_locations)(Context*, const char* file, const char* folder);
    void (*SSL_CTX_set_verify)(Context*, int mode, int (*callback)(int, void*));
    VerifyParameters* (*SSL_CTX_get0_param)(Context*);
    int (*SSL_CTX_set_ciphersuites)(Context*, const char* list);

    Session* (*SSL_new)(Context*);
    void (*SSL_free)(Session*);
    void (*SSL_set_bio)(Session*, Source* read, Source* write);
    void (*SSL_set_connect_state)(Session*);
    long (*SSL_ctrl)(Session*, int command, long number, void* pointer);
    VerifyParameters* (*SSL_get0_param)(Session*);
    int (*SSL_do_handshake)(Session*);
    int (*SSL_read_ex)(Session*, void* to, std::size_t bytes, std::size_t* moved);
    int (*SSL_write_ex)(Session*, const void* from, std::size_t bytes, std::size_t* moved);
    int (*SSL_get_error)(const Session*, int returned);
    int (*SSL_has_pending)(const Session*);
    long (*SSL_get_verify_result)(const Session*);

    SourceMethod* (*BIO_meth_new)(int type, const char* name);
    int (*BIO_meth_set_read_ex)(SourceMethod*, int (*)(Source*, char* to, std::size_t bytes, std::size_t* moved));
    int (*BIO_meth_set_write_ex)(SourceMethod*, int (*)(Source*, const char* from, std::size_t bytes, std::size_t* moved));
    int (*BIO_meth_set_ctrl)(SourceMethod*, long (*)(Source*, int command, long number, void* pointer));
    Source* (*BIO_new)(const SourceMethod*);
    void (*BIO_set_data)(Source*, void* pointer);
    void* (*BIO_get_data)(Source*);
    void (*BIO_set_init)(Source*, int ready);
    void (*BIO_set_flags)(Source*, int flags);
    void (*BIO_clear_flags)(Source*, int flags);

    int (*X509_VERIFY_PARAM_set_flags)(VerifyParameters*, unsigned long flags);
    void (*X509_VERIFY_PARAM_set_hostflags)(VerifyParameters*, unsigned int flags);
    int (*X509_VERIFY_PARAM_set1_host)(VerifyParameters*, const char* name, std::size_t bytes);
    int (*X509_VERIFY_PARAM_set1_ip_asc)(VerifyParameters*, const char* address);
    const char* (*X509_verify_cert_error_string)(long code);
};

// The library, opened on the first call; nullptr if this system has none that fits.
const Library* library() noexcept;

}  // namespace bentosync::openssl
