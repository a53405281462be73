// A null S3 server: it does what the protocol needs and nothing else, so that a benchmark measures the client.
//
// GET sends ranges of files by sendfile from the page cache; bodies of PUT are dropped inside the kernel unless they are
// small (manifests, pointers, small files: kept in memory) or --keep is given. Nothing is signed, checked or synced.
// Every connection has a thread of its own and blocking calls: with the few hundred connections of a benchmark that
// costs no more than an event loop, uses as many cores as there are, and makes waiting (--round-trip, --rate) trivial.
//
// Prints the port on stdout when it is ready, and on SIGTERM one line of JSON: what it did and what CPU it took.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.hpp"

namespace nullserver {
namespace {

constexpr auto usage = R"(nullserver [OPTION VALUE]...
  --root DIR              folders in it are buckets, files below them objects
  --keep 1                write bodies below --root instead of dropping them
  --port N                default: any free one
  --certificate, --key    PEM files; both: TLS
  --rate-total, --rate-connection, --crawl-rate   bytes a second
  --round-trip SECONDS    waited for every request and every connection
  --slow-down-above N     503 while more than N requests are being served
  --crawl-above N         --crawl-rate for every stream while more than N requests are being served
  --refuse-share X        503 for this share of requests; --seed chooses which
  --stall-nth N           the n-th GET of 1 MiB or more stops half-way and stays silent
)";

struct Options {
    std::string root;
    bool keep = false;
    unsigned short port = 0;
    std::string certificate;
    std::string key;
    Conditions conditions;
};

Options parse(int count, char** words) {
    Options options;
    Conditions& c = options.conditions;
    for (int i = 1; i < count; i += 2) {
        const std::string name = words[i];
        const char* const value = i + 1 < count ? words[i + 1] : throw std::runtime_error(usage);
        if (name == "--root") options.root = value;
        else if (name == "--keep") options.keep = std::atoi(value) != 0;
        else if (name == "--port") options.port = static_cast<unsigned short>(std::atoi(value));
        else if (name == "--certificate") options.certificate = value;
        else if (name == "--key") options.key = value;
        else if (name == "--rate-total") c.rate_total = std::atof(value);
        else if (name == "--rate-connection") c.rate_connection = std::atof(value);
        else if (name == "--crawl-rate") c.crawl_rate = std::atof(value);
        else if (name == "--round-trip") c.round_trip_seconds = std::atof(value);
        else if (name == "--slow-down-above") c.slow_down_above = static_cast<unsigned>(std::atoi(value));
        else if (name == "--crawl-above") c.crawl_above = static_cast<unsigned>(std::atoi(value));
        else if (name == "--refuse-share") c.refuse_share = std::atof(value);
        else if (name == "--stall-nth") c.stall_nth = static_cast<std::uint64_t>(std::atoll(value));
        else if (name == "--seed") c.seed = static_cast<std::uint64_t>(std::atoll(value));
        else throw std::runtime_error(usage);
    }
    if (options.keep && options.root.empty()) {
        throw std::runtime_error("--keep needs --root");
    }
    return options;
}

int listening(unsigned short port) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(socket, 1024) != 0) {
        throw std::runtime_error(std::string("cannot listen: ") + std::strerror(errno));
    }
    return socket;
}

int port_of(int socket) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}

double seconds(const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec); }

// Threads come and go for as long as the server lives; _exit below spares us ending them.
[[noreturn]] void report_when_told(const Service& service, const std::atomic<unsigned>& connections) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    int caught = 0;
    sigwait(&ends, &caught);
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    std::cout << "{\"cpu_seconds\": " << seconds(used.ru_utime) + seconds(used.ru_stime)
              << ", \"connections\": " << connections << ", " << service.counts() << "}" << std::endl;
    _exit(0);
}

void block_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGPIPE}) {
        sigaddset(&signals, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void run(const Options& options) {
    block_signals();
    const std::optional<Tls> tls =
        options.certificate.empty() ? std::nullopt : std::optional<Tls>(std::in_place, options.certificate, options.key);
    Buckets buckets(options.root, options.keep);
    Weather weather(options.conditions);
    Service service(buckets, weather);
    std::atomic<unsigned> connections{0};
    const int listener = listening(options.port);
    std::thread(report_when_told, std::cref(service), std::cref(connections)).detach();
    std::cout << port_of(listener) << std::endl;
    for (;;) {
        const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) {
            continue;
        }
        ++connections;
        std::thread([&, socket] {
            const int on = 1;
            setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            weather.round_trip();
            Session session;
            if (tls) {
                weather.round_trip();
                session = tls->accept(socket);
                if (!session) {
                    close(socket);
                    return;
                }
            }
            try {
                Stream stream(socket, std::move(session), weather);
                service.serve(stream);
            } catch (const Closed&) {
            } catch (const std::exception& error) {
                std::cerr << "nullserver: " << error.what() << std::endl;
            }
        }).detach();
    }
}

}  // namespace
}  // namespace nullserver

int main(int count, char** words) {
    try {
        nullserver::run(nullserver::parse(count, words));
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        return 2;
    }
}
