// The receive path under sanitizers: bodies that arrive whole, a loser that keeps sending, a stop in the middle, a fork.
//
// Without arguments against a server in this process, over plain TCP; with a port and a CA file against one that
// somebody else runs on 127.0.0.1, over TLS. Either answers `GET /<n>` with n bytes of the pattern, head first, and
// keeps the connection.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bentosync/receiver.hpp"
#include "bentosync/xxh3.hpp"

namespace {

using bentosync::Connection;
using bentosync::Fault;
using bentosync::Outcome;
using bentosync::Receiver;
using bentosync::Trust;
using Memory = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr std::size_t unit_bytes = 1 << 20;
constexpr std::size_t endless = 8ull << 30;

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "failed: %s\n", what);
        std::_Exit(1);
    }
}

std::uint8_t pattern(std::size_t position) {
    return static_cast<std::uint8_t>((position / 4) >> (8 * (3 - position % 4)));
}

bool is_pattern(const Memory& memory, std::size_t begin) {
    for (std::size_t i = 0; i < memory.size(); ++i) {
        if (memory[i] != pattern(begin + i)) {
            return false;
        }
    }
    return true;
}

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// --- the server ------------------------------------------------------------------------------------------------------

bool send_all(int fd, const void* from, std::size_t bytes) {
    for (std::size_t sent = 0; sent < bytes;) {
        const ssize_t moved = ::send(fd, static_cast<const char*>(from) + sent, bytes - sent, MSG_NOSIGNAL);
        if (moved <= 0) {
            return false;
        }
        sent += static_cast<std::size_t>(moved);
    }
    return true;
}

void serve(int fd) {
    std::string asked;
    char chunk[4096];
    for (ssize_t got; (got = ::recv(fd, chunk, sizeof chunk, 0)) > 0;) {
        asked.append(chunk, static_cast<std::size_t>(got));
        if (!asked.ends_with("\r\n\r\n")) {
            continue;
        }
        const std::size_t size = std::strtoull(asked.c_str() + std::strlen("GET /"), nullptr, 10);
        asked.clear();
        const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
        bool heard = send_all(fd, head.data(), head.size());
        Memory block(100'000);
        for (std::size_t begin = 0; heard && begin < size; begin += block.size()) {
            block.resize(std::min(block.size(), size - begin));
            for (std::size_t i = 0; i < block.size(); ++i) {
                block[i] = pattern(begin + i);
            }
            heard = send_all(fd, block.data(), block.size());
        }
        if (!heard) {
            break;
        }
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

    void ask(Connection& connection, std::size_t size) {
        const bool at_once = connection.ask("GET /" + std::to_string(size) + " HTTP/1.1\r\n\r\n");
        const auto outcome = at_once ? connection.settle() : wait(connection);
        require(outcome.fault.kind == Fault::none, "a head comes");
        require(connection.take_head().ends_with("Content-Length: " + std::to_string(size)), "it is the right one");
    }
};

void whole_bodies(Client& client) {
    std::vector<std::shared_ptr<Connection>> connections;
    for (int i = 0; i < 4; ++i) {
        connections.push_back(client.connected());
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{70'000}, 3 * unit_bytes + 17}) {
        for (const auto& connection : connections) {
            client.ask(*connection, size);
        }
        for (std::size_t begin = 0; begin < size; begin += unit_bytes) {
            std::vector<Memory> units;
            std::vector<bool> at_once;
            for (const auto& connection : connections) {
                auto& unit = units.emplace_back(std::min(unit_bytes, size - begin));
                at_once.push_back(connection->fill(unit));
            }
            for (std::size_t i = 0; i < connections.size(); ++i) {
                const auto outcome = at_once[i] ? connections[i]->settle() : client.wait(*connections[i]);
                require(outcome.fault.kind == Fault::none && outcome.bytes == units[i].size(), "a unit is filled");
                require(is_pattern(units[i], begin), "with the right bytes");
            }
        }
        for (const auto& connection : connections) {
            require(connection->surplus() == 0 && connection->park() && connection->is_parked(), "it may be used again");
        }
    }
}

std::vector<std::uint8_t> digests_of(std::size_t begin, std::size_t size) {
    std::vector<std::uint8_t> digests;
    for (std::size_t at = 0; at < size; at += unit_bytes) {
        Memory unit(std::min(unit_bytes, size - at));
        for (std::size_t i = 0; i < unit.size(); ++i) {
            unit[i] = pattern(begin + at + i);
        }
        const std::uint64_t digest = bentosync::xxh3_64(unit);
        for (int shift = 56; shift >= 0; shift -= 8) {
            digests.push_back(static_cast<std::uint8_t>(digest >> shift));
        }
    }
    return digests;
}

void landings(Client& client) {
    std::FILE* const file = std::tmpfile();
    const int fd = ::fileno(file);
    constexpr std::size_t size = 5 * unit_bytes + 12'345, at = 777;
    Memory unit(unit_bytes);
    for (const std::size_t wrong : {size_t{6}, std::size_t{0}, std::size_t{3}, std::size_t{5}}) {
        const auto connection = client.connected();
        client.ask(*connection, size);
        auto digests = digests_of(0, size);
        if (wrong < 6) {
            digests[8 * wrong + 7] ^= 1;
        }
        const bool at_once = connection->land(unit, {fd, at, size, digests});
        const auto outcome = at_once ? connection->settle() : client.wait(*connection);
        const std::size_t good = std::min(size, wrong * unit_bytes);
        require(outcome.fault.kind == Fault::none, "a landing has no fault");
        require(connection->landed() == good, "all before the wrong unit has landed");
        require(outcome.bytes == std::min(unit_bytes, size - good), "the wrong unit is handed over whole");
        Memory written(good);
        require(good == 0 || ::pread(fd, written.data(), good, at) == static_cast<ssize_t>(good), "it can be read");
        require(is_pattern(written, 0), "the file has the right bytes");
        require(::ftruncate(fd, 0) == 0, "truncate");
        connection->abort();
    }
    const auto connection = client.connected();
    client.ask(*connection, endless);
    auto memory = std::make_unique<Memory>(unit_bytes);
    connection->land(*memory, {fd, 0, 8 * unit_bytes, digests_of(0, 8 * unit_bytes)});
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    connection->abort();
    memory.reset();
    std::fclose(file);
}

// Several land in one file at a time, and some are given up, perhaps while they stand in line: the others' bytes are all
// there, and nobody waits for ever.
void landings_in_one_file(Client& client) {
    std::FILE* const file = std::tmpfile();
    const int fd = ::fileno(file);
    constexpr std::size_t count = 6, size = 3 * unit_bytes + 321;
    const auto digests = digests_of(0, size);
    for (int round = 0; round < 5; ++round) {
        std::vector<std::shared_ptr<Connection>> connections;
        std::vector<Memory> units(count, Memory(unit_bytes));
        std::vector<bool> at_once;
        for (std::size_t i = 0; i < count; ++i) {
            client.ask(*connections.emplace_back(client.connected()), size);
        }
        for (std::size_t i = 0; i < count; ++i) {
            at_once.push_back(connections[i]->land(units[i], {fd, i * size, size, digests}));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(round));
        connections[0]->abort();
        connections[1].reset();
        for (std::size_t i = 2; i < count; ++i) {
            const auto outcome = at_once[i] ? connections[i]->settle() : client.wait(*connections[i]);
            require(outcome.fault.kind == Fault::none && outcome.bytes == 0, "a landing ends well");
            require(connections[i]->landed() == size, "all of it has landed");
            const auto spent = connections[i]->spent();
            require(spent.disk > 0 && spent.digests > 0, "its time was counted");
            Memory written(size);
            const auto read = ::pread(fd, written.data(), size, static_cast<off_t>(i * size));
            require(read == static_cast<ssize_t>(size) && is_pattern(written, 0), "the file has the right bytes");
            require(connections[i]->park(), "it may be used again");
        }
        require(::ftruncate(fd, 0) == 0, "truncate");
    }
    std::fclose(file);
}

// The memory is freed the moment `abort` has returned, while the server keeps sending: the sanitizer sees a late write.
void losers(Client& client) {
    for (int i = 0; i < 30; ++i) {
        const auto connection = client.connected();
        client.ask(*connection, endless);
        auto memory = std::make_unique<Memory>(unit_bytes * 4);
        connection->fill(*memory);
        std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
        connection->abort();
        memory.reset();
        require(connection->fill({}) && connection->settle().fault.kind == Fault::closed, "closed is closed");
    }
}

void a_loser_that_keeps_sending(Client& client) {
    const auto connection = client.connected();
    client.ask(*connection, endless);
    Memory memory(unit_bytes);
    connection->fill(memory);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto before = Clock::now();
    connection->abort();
    require(Clock::now() - before < std::chrono::seconds(5), "the wait is bounded");
    const Memory mine(unit_bytes, 0x5A);
    memory = mine;
    for (int i = 0; i < 10; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        require(memory == mine, "nobody writes into it");
    }
}

void stop_in_the_middle(int port, const std::shared_ptr<const Trust>& trust) {
    Client client{.port = port, .trust = trust, .ended = {}};
    std::vector<Memory> memories(4, Memory(unit_bytes * 8));
    std::vector<std::shared_ptr<Connection>> connections;
    for (auto& memory : memories) {
        connections.push_back(client.connected());
        client.ask(*connections.back(), endless);
        connections.back()->fill(memory);
    }
    client.receiver.stop();
    memories.clear();
    for (const auto& connection : connections) {
        require(connection->ask("GET /1 HTTP/1.1\r\n\r\n"), "a stopped receiver does nothing");
    }
}

void a_fork(Client& client) {
    const auto connection = client.connected();
    client.ask(*connection, endless);
    auto memory = std::make_unique<Memory>(unit_bytes);
    const bool at_once = connection->fill(*memory);
    const pid_t child = ::fork();
    if (child == 0) {
        connection->abort();
        client.receiver.stop();
        std::_Exit(0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    require(status == 0, "the child leaves it alone");
    require((at_once ? connection->settle() : client.wait(*connection)).bytes == unit_bytes, "the parent goes on");
    require(is_pattern(*memory, 0), "with the right bytes");
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
    landings(client);
    landings_in_one_file(client);
    losers(client);
    a_loser_that_keeps_sending(client);
    stop_in_the_middle(port, trust);
    a_fork(client);
    std::printf("receiver ok\n");
}
