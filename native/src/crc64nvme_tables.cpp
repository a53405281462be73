// Slicing by eight: the state moves over eight message bytes with eight independent lookups
// (Kounavis and Berry, "A Systematic Approach to Building High Performance Software-based CRC Generators", 2005).
#include <array>
#include <string_view>

#include "bentosync/gf2.hpp"
#include "crc64nvme_ways.hpp"

namespace bentosync::ways {
namespace {

constexpr std::size_t slices = 8;
using Tables = std::array<std::array<std::uint64_t, 256>, slices>;

// tables[k][b]: what byte b contributes to the state once k more bytes have passed.
constexpr Tables make_tables() noexcept {
    Tables tables{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        std::uint64_t value = byte;
        for (int bit = 0; bit < 8; ++bit) {
            value = gf2::times_x(value);
        }
        tables[0][byte] = value;
    }
    for (std::size_t slice = 1; slice < slices; ++slice) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint64_t before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][before & 0xFF];
        }
    }
    return tables;
}

constexpr Tables tables = make_tables();

constexpr std::uint64_t step(std::uint64_t state, std::uint8_t byte) noexcept {
    return (state >> 8) ^ tables[0][(state ^ byte) & 0xFF];
}

constexpr std::uint64_t check_value(std::string_view message) noexcept {
    std::uint64_t state = ~std::uint64_t{0};
    for (const char letter : message) {
        state = step(state, static_cast<std::uint8_t>(letter));
    }
    return ~state;
}

static_assert(check_value("123456789") == 0xAE8B'1486'0A79'9888);

// Little-endian on every machine; compilers make one load of it.
std::uint64_t load(const std::uint8_t* from) noexcept {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        word |= std::uint64_t{from[i]} << (8 * i);
    }
    return word;
}

}  // namespace

std::uint64_t by_tables(Bytes data, std::uint64_t state) noexcept {
    for (; data.size() >= slices; data = data.subspan(slices)) {
        state ^= load(data.data());
        std::uint64_t next = 0;
        for (std::size_t i = 0; i < slices; ++i) {
            next ^= tables[slices - 1 - i][(state >> (8 * i)) & 0xFF];
        }
        state = next;
    }
    for (const std::uint8_t byte : data) {
        state = step(state, byte);
    }
    return state;
}

}  // namespace bentosync::ways
