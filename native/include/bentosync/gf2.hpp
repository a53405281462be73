// Polynomials over GF(2), modulo the polynomial of CRC-64/NVME, at compile time.
//
// A remainder is 64 bits, reflected: bit 63 is the coefficient of x^0, bit 0 that of x^63. That is the order in which
// a reflected CRC reads its message, so multiplying by x is a shift to the right.
#pragma once

#include <cstdint>

namespace bentosync::gf2 {

constexpr std::uint64_t reflect(std::uint64_t value) noexcept {
    std::uint64_t mirrored = 0;
    for (int bit = 0; bit < 64; ++bit) {
        mirrored = (mirrored << 1) | ((value >> bit) & 1);
    }
    return mirrored;
}

// The generator, without its x^64 term (NVM Command Set Specification 1.0, "64b CRC").
inline constexpr std::uint64_t polynomial = reflect(0xAD93'D235'94C9'3659);

inline constexpr std::uint64_t one = std::uint64_t{1} << 63;

constexpr std::uint64_t times_x(std::uint64_t value) noexcept {
    return (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
}

// x^exponent mod the generator.
constexpr std::uint64_t power_of_x(unsigned exponent) noexcept {
    std::uint64_t value = one;
    for (; exponent > 0; --exponent) {
        value = times_x(value);
    }
    return value;
}

}  // namespace bentosync::gf2
