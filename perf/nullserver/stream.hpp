// One connection's bytes, plain or TLS, blocking. Sending and dropping bytes take the cheapest way there is.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tls.hpp"
#include "weather.hpp"

namespace nullserver {

// The other side went away, or spoke something else than HTTP.
struct Closed {};

class Stream {
public:
    Stream(int socket, Session session, Weather& weather);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    std::optional<std::string> read_until(std::string_view end, std::size_t size_max);  // with `end`; nothing at EOF
    void read(char* to, std::size_t size);          // exactly `size`
    void discard(std::size_t size);
    void write(std::string_view data);
    void flush();
    void send_file(int file, std::size_t begin, std::size_t size);
    void hang();                                    // silent until the other side gives up

private:
    std::size_t receive(char* to, std::size_t size);
    std::size_t step(std::size_t size);

    int socket_;
    Session session_;
    Weather& weather_;
    Pacer pacer_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

}  // namespace nullserver
