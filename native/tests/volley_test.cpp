// Volleys under sanitizers: replies whole, in pieces, of others, or none; a stop in the middle; heads of every kind.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bentosync/volley.hpp"

namespace {

using bentosync::Answer;
using bentosync::read_answer;
using bentosync::Shot;
using bentosync::Volley;

constexpr std::int64_t patient_ns = 10'000'000'000;
constexpr std::size_t body_bytes = 300'000;  // more than a socket takes at once

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::_Exit(1);
    }
}

void send_all(int fd, const std::string& text) { require(::send(fd, text.data(), text.size(), MSG_NOSIGNAL) >= 0, "sent"); }

// A server for one end of a pair: what it says depends on the number that each head is. It ends with the connection.
void serve(int fd) {
    std::string received;
    std::vector<char> piece(1 << 16);
    while (true) {
        while (received.size() < 8 + body_bytes) {
            const ssize_t count = ::recv(fd, piece.data(), piece.size(), 0);
            if (count <= 0) {
                ::close(fd);
                return;
            }
            received.append(piece.data(), static_cast<std::size_t>(count));
        }
        const std::string name = received.substr(0, 8);
        require(received[8] == name[7] && received[8 + body_bytes - 1] == name[7], "the body is its head's");
        received.erase(0, 8 + body_bytes);
        const int number = std::stoi(name);
        if (number % 10 == 1) {
            send_all(fd, "HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nbusy");
        } else if (number % 10 == 2) {
            for (const char c : "HTTP/1.1 200 OK\r\nX-Echo: " + name + "\r\nContent-Length: 2\r\n\r\nok") {
                send_all(fd, {c});
            }
        } else if (number == 33) {
            send_all(fd, "HTTP/1.1 200 OK\r\nX-Echo: another\r\nContent-Length: 0\r\n\r\n");
        } else if (number == 44) {
            ::close(fd);
            return;
        } else if (number != 55) {  // which is met with silence
            send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    }
}

struct Pairs {
    std::vector<int> ours;
    std::vector<std::thread> servers;

    explicit Pairs(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            int ends[2];
            require(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "a pair");
            ours.push_back(ends[0]);
            servers.emplace_back(serve, ends[1]);
        }
    }
    ~Pairs() {
        for (const int fd : ours) {
            ::close(fd);
        }
        for (auto& server : servers) {
            server.join();
        }
    }
};

struct Messages {
    std::vector<std::string> names;
    std::vector<std::string> bodies;
    std::vector<Shot> shots;

    explicit Messages(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            char name[16];
            std::snprintf(name, sizeof name, "%08zu", i);
            names.emplace_back(name);
            bodies.emplace_back(body_bytes, name[7]);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const auto bytes = [](const std::string& text) {
                return std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
            };
            shots.push_back({bytes(names[i]), bytes(bodies[i]), names[i]});
        }
    }
};

void every_reply_finds_its_request() {
    Pairs pairs(4);
    const Messages messages(100);
    const int stop = ::eventfd(0, EFD_CLOEXEC);
    Volley volley(pairs.ours, messages.shots, "x-echo", 300'000'000, stop);
    volley.run();
    for (std::size_t i = 0; i < messages.shots.size(); ++i) {
        const bool lost = i == 33 || i == 44 || i == 55;
        const auto wanted = lost ? Volley::unknown : i % 10 == 1 ? Volley::refused : Volley::success;
        require(volley.results()[i] == wanted, "what came of it");
    }
    int resting = 0;
    for (const auto rests : volley.resting()) {
        resting += rests;
    }
    require(resting == 1, "only the connections that met a fault are lost");
    ::close(stop);
}

void a_stop_ends_it() {
    Pairs pairs(2);
    Messages messages(56);
    messages.shots.erase(messages.shots.begin(), messages.shots.begin() + 55);  // silence
    const int stop = ::eventfd(0, EFD_CLOEXEC);
    Volley volley(pairs.ours, messages.shots, "x-echo", patient_ns, stop);
    const auto began = std::chrono::steady_clock::now();
    std::thread other([stop] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        require(::eventfd_write(stop, 1) == 0, "a stop");
    });
    volley.run();
    other.join();
    require(std::chrono::steady_clock::now() - began < std::chrono::seconds(5), "it ended at once");
    require(volley.results()[0] == Volley::unknown && volley.resting()[0] == 0 && volley.resting()[1] == 1, "as it was");
    ::close(stop);
}

Answer read(const std::string& text) { return read_answer(text, "x-echo", "me"); }

void heads_are_read_strictly() {
    const auto good = [](const std::string& text) {
        const Answer answer = read(text);
        return answer.state == Answer::whole && answer.success && answer.keep;
    };
    const auto broken = [](const std::string& text) { return read(text).state == Answer::broken; };
    require(good("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), "no reason");
    require(good("HTTP/1.1 204 No Content\r\n\r\n"), "no body");
    require(good("HTTP/1.1 200 OK\r\nx-ECHO:\t me \r\ncontent-length: 0\r\n\r\n"), "the echo");
    require(good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"), "the same twice");
    require(!read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n").keep, "a last one");
    require(!read("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore").keep, "bytes behind it");
    require(!read("HTTP/1.1 307 Elsewhere\r\nContent-Length: 0\r\n\r\n").success, "a redirect");
    require(read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").state == Answer::partial, "half a body");
    for (const char* text : {
             "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 100 Continue\r\n\r\n",
             "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 200\nOK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
             "HTTP/1.1 200 OK\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: x\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nno colon\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n: no name\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Echo: you\r\n\r\n",
             "\r\n\r\n",
         }) {
        require(broken(text), text);
    }
    require(broken(std::string(bentosync::reply_bytes_max, 'x')), "an endless head");
}

// Whatever comes, only the memory given is read, and no reply of success is made of what is none.
void noise_is_survived() {
    std::mt19937 draw(1);
    const std::string whole = "HTTP/1.1 503 OK\r\nX-Echo: me\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc";
    for (int round = 0; round < 50'000; ++round) {
        std::vector<char> text(whole.begin(), whole.begin() + draw() % (whole.size() + 1));
        for (unsigned edits = draw() % 4; edits > 0 && !text.empty(); --edits) {
            constexpr std::string_view likely("\r\n :,0\0\x80", 8);
            text[draw() % text.size()] =
                draw() % 2 == 0 ? likely[draw() % likely.size()] : static_cast<char>(draw());
        }
        const Answer answer = read_answer({text.data(), text.size()}, "x-echo", "me");
        require(answer.state != Answer::whole || !answer.success || text[9] == '2', "no success of nothing");
    }
}

}  // namespace

int main() {
    heads_are_read_strictly();
    noise_is_survived();
    every_reply_finds_its_request();
    a_stop_ends_it();
    std::puts("volley ok");
}
