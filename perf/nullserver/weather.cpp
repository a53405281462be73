#include "weather.hpp"

#include <algorithm>
#include <thread>

namespace nullserver {
namespace {

constexpr auto lag_max = std::chrono::milliseconds(5);

// SplitMix64's finaliser: neighbouring counters give unrelated numbers.
double uniform(std::uint64_t value) noexcept {
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((value ^ (value >> 31)) >> 11) * 0x1p-53;
}

}  // namespace

void Pacer::wait(std::size_t bytes, double rate) {
    using Clock = std::chrono::steady_clock;
    Clock::time_point due;
    {
        const std::lock_guard lock(mutex_);
        const std::chrono::duration<double> cost(static_cast<double>(bytes) / rate);
        // A thread that slept too long has not lost its share: up to `lag_max` of it is caught up.
        next_ = std::max(next_, Clock::now() - lag_max) + std::chrono::duration_cast<Clock::duration>(cost);
        due = next_;
    }
    std::this_thread::sleep_until(due);
}

void Weather::round_trip() const {
    if (conditions_.round_trip_seconds > 0) {
        std::this_thread::sleep_for(std::chrono::duration<double>(conditions_.round_trip_seconds));
    }
}

bool Weather::refuses() {
    if (conditions_.slow_down_above != 0 && active_ > conditions_.slow_down_above) {
        return true;
    }
    return conditions_.refuse_share > 0 && uniform(conditions_.seed * 1'000'003 + ++begun_) < conditions_.refuse_share;
}

bool Weather::stalls() { return conditions_.stall_nth != 0 && ++large_ == conditions_.stall_nth; }

bool Weather::shaped() const noexcept {
    return conditions_.rate_total > 0 || conditions_.rate_connection > 0 || conditions_.crawl_above != 0;
}

// Half a millisecond's worth of the highest rate, so that waiting costs little CPU; never so much that a rate of 1 MB/s
// stops looking like a stream.
std::size_t Weather::shaped_bytes() const noexcept {
    const double fastest = std::max(conditions_.rate_total, conditions_.rate_connection);
    return static_cast<std::size_t>(std::clamp(fastest * 0.0005, 64.0 * 1024, 1024.0 * 1024));
}

void Weather::pace(Pacer& connection, std::size_t bytes) {
    if (conditions_.crawl_above != 0 && active_ > conditions_.crawl_above) {
        connection.wait(bytes, conditions_.crawl_rate);
        return;
    }
    if (conditions_.rate_connection > 0) {
        connection.wait(bytes, conditions_.rate_connection);
    }
    if (conditions_.rate_total > 0) {
        total_.wait(bytes, conditions_.rate_total);
    }
}

}  // namespace nullserver
