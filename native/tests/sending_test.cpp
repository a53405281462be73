// The send path under sanitizers: bodies that arrive whole, replies that come too early, memory that is freed as soon as
// `abort` has returned, a stop in the middle, a fork.
//
// Without arguments against a server in this process, over plain TCP; with a port and a CA file against one that
// somebody else runs on 127.0.0.1, over TLS. Either does as the target says: `/whole` reads the body and answers 200 if
// it is the pattern, `/early` answers 503 without reading, `/silent` hangs up, `/stuck` reads nothing.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bentosync/receiver.hpp"

namespace {

using bentosync::Connection;
using bentosync::Fault;
using bentosync::Outcome;
using bentosync::Receiver;
using bentosync::Trust;
using Memory = std::vector<std::uint8_t>;

constexpr std::size_t long_bytes = 6 << 20;  // more than two kernels hold

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::_Exit(1);
    }
}

// Each byte is its position, modulo a prime: no part of it looks like its neighbour. `tile` can be read from any phase on.
constexpr std::size_t period = 251, chunk_bytes = 100'000;

// Never freed: the server's threads are still there at the end.
const Memory& tile() {
    static const Memory* const made = [] {
        auto* bytes = new Memory(chunk_bytes + 2 * period);
        for (std::size_t i = 0; i < bytes->size(); ++i) {
            (*bytes)[i] = static_cast<std::uint8_t>(i % period);
        }
        return bytes;
    }();
    return *made;
}

Memory body_of(std::size_t size) {
    Memory body(size);
    for (std::size_t at = 0; at < size; at += chunk_bytes) {
        std::memcpy(body.data() + at, tile().data() + at % period, std::min(chunk_bytes, size - at));
    }
    return body;
}

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// --- the server ------------------------------------------------------------------------------------------------------

void reply(int fd, std::string_view status) {
    const std::string text = "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: 0\r\n\r\n";
    [[maybe_unused]] const auto sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
}

// False if the connection ended first. `whole` becomes whether it was the pattern.
bool read_body(int fd, std::size_t size, bool& whole) {
    Memory chunk(chunk_bytes);
    whole = true;
    for (std::size_t at = 0; at < size;) {
        const ssize_t got = ::recv(fd, chunk.data(), std::min(chunk.size(), size - at), 0);
        if (got <= 0) {
            return false;
        }
        whole = whole && std::memcmp(chunk.data(), tile().data() + at % period, static_cast<std::size_t>(got)) == 0;
        at += static_cast<std::size_t>(got);
    }
    return true;
}

void serve(int fd) {
    std::string asked;
    for (char byte; ::recv(fd, &byte, 1, 0) == 1;) {
        asked.push_back(byte);
        if (!asked.ends_with("\r\n\r\n")) {
            continue;
        }
        const std::size_t size = std::strtoull(asked.c_str() + asked.find("Length: ") + std::strlen("Length: "), nullptr, 10);
        bool whole = false;
        if (asked.starts_with("PUT /silent")) {
            break;
        }
        if (asked.starts_with("PUT /early")) {
            reply(fd, "503 Slow Down");
        }
        if (!asked.starts_with("PUT /whole")) {
            pollfd hung_up{fd, POLLRDHUP, 0};
            ::poll(&hung_up, 1, 10'000);
            break;
        }
        asked.clear();
        if (!read_body(fd, size, whole)) {
            break;
        }
        reply(fd, whole ? "200 OK" : "400 Bad Digest");
    }
    ::close(fd);
}

int start_server() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    auto address = loopback(0);
    socklen_t size = sizeof address;
    require(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 && ::listen(listener, 64) == 0, "listen");
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    std::thread([listener] {
        for (int fd; (fd = ::accept(listener, nullptr, nullptr)) >= 0;) {
            std::thread(serve, fd).detach();
        }
    }).detach();
    return ntohs(address.sin_port);
}

// --- the client: what Python does with an event loop, done by waiting ------------------------------------------------

struct Client {
    Receiver receiver{2};
    int port;
    std::shared_ptr<const Trust> trust;
    std::map<std::uint64_t, int> ended;

    std::shared_ptr<Connection> connected() {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        const auto address = loopback(port);
        require(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "connect");
        auto connection = receiver.adopt(fd, trust, "127.0.0.1", true);
        if (trust != nullptr) {
            require(wait(*connection).fault.kind == Fault::none, "handshake");
        }
        return connection;
    }

    Outcome wait(Connection& connection) {
        while (ended[connection.id()] == 0) {
            pollfd readable{receiver.fd(), POLLIN, 0};
            require(::poll(&readable, 1, 60'000) == 1, "an operation ends");
            for (const auto id : receiver.ended()) {
                ++ended[id];
            }
        }
        --ended[connection.id()];
        return connection.settle();
    }

    // In three pieces, one of them empty.
    static bool give(Connection& connection, const std::string& target, const Memory& body) {
        const std::string length = std::to_string(body.size());
        const std::span<const std::uint8_t> all(body);
        const std::size_t cut = std::min<std::size_t>(17, body.size());
        return connection.give("PUT " + target + " HTTP/1.1\r\nLength: " + length + "\r\n\r\n",
                               {all.first(cut), {}, all.subspan(cut)});
    }

    // The reply, up to the end of its head; shorter if the connection ended.
    std::string heard(Connection& connection, Memory& memory) {
        std::string reply;
        do {
            const bool at_once = connection.converse(memory);
            const auto outcome = at_once ? connection.settle() : wait(connection);
            if (outcome.fault.kind != Fault::none) {
                break;
            }
            require(outcome.bytes > 0, "something was heard");
            reply.append(reinterpret_cast<const char*>(memory.data()), outcome.bytes);
        } while (!reply.ends_with("\r\n\r\n"));
        return reply;
    }
};

void whole_bodies(Client& client) {
    std::vector<std::shared_ptr<Connection>> connections;
    for (int i = 0; i < 4; ++i) {
        connections.push_back(client.connected());
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}, long_bytes + 17}) {
        const Memory body = body_of(size);
        std::vector<Memory> replies(connections.size(), Memory(1000));
        for (const auto& connection : connections) {
            require(Client::give(*connection, "/whole", body), "a request is taken");
        }
        std::vector<bool> at_once;
        for (std::size_t i = 0; i < connections.size(); ++i) {
            at_once.push_back(connections[i]->converse(replies[i]));
        }
        for (std::size_t i = 0; i < connections.size(); ++i) {
            const auto outcome = at_once[i] ? connections[i]->settle() : client.wait(*connections[i]);
            const std::string_view reply(reinterpret_cast<const char*>(replies[i].data()), outcome.bytes);
            require(outcome.fault.kind == Fault::none && reply.starts_with("HTTP/1.1 200"), "the body arrived whole");
            require(connections[i]->sent_all() && connections[i]->undelivered() == 0, "it is known to have arrived");
            require(connections[i]->park() && connections[i]->is_parked(), "it may be used again");
        }
    }
}

void early_replies(Client& client) {
    for (int i = 0; i < 4; ++i) {
        const auto connection = client.connected();
        auto body = std::make_unique<Memory>(body_of(2 * long_bytes));
        Memory memory(7);
        require(Client::give(*connection, "/early", *body), "a request is taken");
        require(client.heard(*connection, memory).starts_with("HTTP/1.1 503"), "the reply is heard");
        require(!connection->sent_all() && !connection->park(), "it may not be used again");
        connection->abort();
        body.reset();
    }
}

void hung_up(Client& client) {
    const Memory body = body_of(2 * long_bytes);
    for (int i = 0; i < 5; ++i) {
        const auto connection = client.connected();
        Memory memory(1000);
        require(Client::give(*connection, "/silent", body), "a request is taken");
        require(client.heard(*connection, memory).empty(), "the end is noticed");
        require(!connection->park(), "it may not be used again");
    }
}

// The memory is freed the moment `abort` has returned: the sanitizer sees a late read.
void losers(Client& client) {
    for (int i = 0; i < 18; ++i) {
        const auto connection = client.connected();
        auto body = std::make_unique<Memory>(body_of(long_bytes));
        auto memory = std::make_unique<Memory>(1000);
        require(Client::give(*connection, i % 2 ? "/stuck" : "/whole", *body), "a request is taken");
        connection->converse(*memory);
        std::this_thread::sleep_for(std::chrono::microseconds(i * 300));
        if (i % 3 == 0) {
            connection->undelivered();
        }
        connection->abort();
        std::ranges::fill(*body, std::uint8_t{0x5A});
        body.reset();
        memory.reset();
        require(!Client::give(*connection, "/whole", {}), "closed is closed");
    }
}

void stop_in_the_middle(int port, const std::shared_ptr<const Trust>& trust) {
    Client client{.port = port, .trust = trust, .ended = {}};
    std::vector<Memory> bodies(4, body_of(long_bytes)), replies(4, Memory(1000));
    std::vector<std::shared_ptr<Connection>> connections;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
        connections.push_back(client.connected());
        require(Client::give(*connections[i], "/stuck", bodies[i]), "a request is taken");
        connections[i]->converse(replies[i]);
    }
    client.receiver.stop();
    bodies.clear();
    replies.clear();
    for (const auto& connection : connections) {
        require(!Client::give(*connection, "/whole", {}), "a stopped receiver does nothing");
    }
}

void a_fork(Client& client) {
    const auto connection = client.connected();
    const Memory body = body_of(2 * long_bytes);
    Memory memory(1000);
    require(Client::give(*connection, "/whole", body), "a request is taken");
    const bool at_once = connection->converse(memory);
    const pid_t child = ::fork();
    if (child == 0) {
        connection->abort();
        client.receiver.stop();
        std::_Exit(0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    require(status == 0, "the child leaves it alone");
    const auto outcome = at_once ? connection->settle() : client.wait(*connection);
    require(outcome.fault.kind == Fault::none && connection->sent_all(), "the parent goes on");
    require(std::string_view(reinterpret_cast<const char*>(memory.data()), 12) == "HTTP/1.1 200", "it arrived whole");
    connection->abort();
}

}  // namespace

int main(int count, char** arguments) {
    const bool tls = count == 3;
    const int port = tls ? std::atoi(arguments[1]) : start_server();
    std::shared_ptr<const Trust> trust;
    if (tls) {
        trust = std::make_shared<Trust>(bentosync::TrustSettings{.file = arguments[2], .folder = {}, .ciphers = {}, .suites = {}});
    }
    Client client{.port = port, .trust = trust, .ended = {}};
    whole_bodies(client);
    early_replies(client);
    hung_up(client);
    losers(client);
    stop_in_the_middle(port, trust);
    a_fork(client);
    std::printf("sending ok\n");
}
