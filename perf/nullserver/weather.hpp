// What makes the server less than perfect: rates, round trips, refusals, a stalled stream. All off by default.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace nullserver {

struct Conditions {
    double rate_total = 0;              // bytes a second, all connections together; 0: as fast as it goes
    double rate_connection = 0;         // bytes a second of each connection
    double round_trip_seconds = 0;      // waited once for a connection (twice with TLS) and once for a request
    unsigned slow_down_above = 0;       // more requests at a time than this: 503 SlowDown
    unsigned crawl_above = 0;           // more at a time than this: every stream falls to `crawl_rate`
    double crawl_rate = 1e6;            // bytes a second
    double refuse_share = 0;            // this share of all requests: 503 SlowDown, at random but always the same
    std::uint64_t stall_nth = 0;        // the n-th large GET stops half-way and stays silent
    std::uint64_t seed = 1;
};

// A rate as a moving point in time before which nothing more may be sent. Safe to share.
class Pacer {
public:
    void wait(std::size_t bytes, double rate);

private:
    std::mutex mutex_;
    std::chrono::steady_clock::time_point next_{};
};

// The conditions, and what they depend on: how many requests are being served.
class Weather {
public:
    explicit Weather(const Conditions& conditions) : conditions_(conditions) {}

    // One request being served, from its head to its last byte.
    class Request {
    public:
        explicit Request(Weather& weather) : weather_(weather) { ++weather_.active_; }
        ~Request() { --weather_.active_; }
        Request(const Request&) = delete;
        Request& operator=(const Request&) = delete;

    private:
        Weather& weather_;
    };

    void round_trip() const;
    bool refuses();              // whether the request that just began is answered 503
    bool stalls();               // whether this large GET is the one that stops half-way
    bool shaped() const noexcept;
    std::size_t shaped_bytes() const noexcept;  // how much is sent between two waits
    void pace(Pacer& connection, std::size_t bytes);
    const Conditions& conditions() const noexcept { return conditions_; }

private:
    Conditions conditions_;
    std::atomic<unsigned> active_{0};
    std::atomic<std::uint64_t> begun_{0};
    std::atomic<std::uint64_t> large_{0};
    Pacer total_;
};

}  // namespace nullserver
