// CRC by folding (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009).
//
// A register holds 128 message bits M. Moving them D bits towards the end of the message changes nothing modulo the
// generator if they are multiplied by x^D. With M = L * x^64 + H (L is the low half: a reflected message begins in the
// low bits) that is
//
//     M * x^D  =  L * (x^(D+64) mod P)  +  H * (x^D mod P),
//
// two carry-less products of 64-bit factors, added to the message bits D further on. A product of two reflected
// 64-bit factors comes out multiplied by one more x, so the constants are x^(D+63) and x^(D-1).
//
// Several registers side by side hide the latency of the multiplier; D is the width of all of them. What they hold at
// the end is a short message with the same remainder: tables finish it together with the tail. For the 1 MiB slices
// this code is fed with, that costs less than 1 % and saves the reduction steps of the paper.
#if defined(__x86_64__)

#include <immintrin.h>

#include <array>

#include "bentosync/gf2.hpp"
#include "crc64nvme_ways.hpp"

namespace bentosync::ways {
namespace {

// Fold constants for a distance of `bytes`: for the low and for the high half of a register.
struct Distance {
    long long low;
    long long high;
};

constexpr Distance distance(unsigned bytes) noexcept {
    return {static_cast<long long>(gf2::power_of_x(8 * bytes + 63)),
            static_cast<long long>(gf2::power_of_x(8 * bytes - 1))};
}

}  // namespace

bool has_pclmul() noexcept { return __builtin_cpu_supports("pclmul") != 0; }

__attribute__((target("pclmul"))) std::uint64_t by_pclmul(Bytes data, std::uint64_t state) noexcept {
    constexpr std::size_t lanes = 8;
    constexpr std::size_t stride = lanes * sizeof(__m128i);
    if (data.size() < 2 * stride) {
        return by_tables(data, state);
    }
    constexpr Distance by = distance(stride);
    const __m128i constants = _mm_set_epi64x(by.high, by.low);
    const auto load = [](const std::uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); };

    __m128i folded[lanes];
    for (std::size_t i = 0; i < lanes; ++i) {
        folded[i] = load(data.data() + i * sizeof(__m128i));
    }
    folded[0] = _mm_xor_si128(folded[0], _mm_cvtsi64_si128(static_cast<long long>(state)));
    for (data = data.subspan(stride); data.size() >= stride; data = data.subspan(stride)) {
        for (std::size_t i = 0; i < lanes; ++i) {
            const __m128i low = _mm_clmulepi64_si128(folded[i], constants, 0x00);
            const __m128i high = _mm_clmulepi64_si128(folded[i], constants, 0x11);
            folded[i] = _mm_xor_si128(_mm_xor_si128(low, high), load(data.data() + i * sizeof(__m128i)));
        }
    }

    std::array<std::uint8_t, stride> rest;
    for (std::size_t i = 0; i < lanes; ++i) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data() + i * sizeof(__m128i)), folded[i]);
    }
    return by_tables(data, by_tables(rest, 0));
}

bool has_vpclmul() noexcept {
    return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0;
}

__attribute__((target("avx512f,vpclmulqdq"))) std::uint64_t by_vpclmul(Bytes data, std::uint64_t state) noexcept {
    constexpr std::size_t lanes = 8;
    constexpr std::size_t stride = lanes * sizeof(__m512i);
    if (data.size() < 2 * stride) {
        return by_pclmul(data, state);
    }
    constexpr Distance by = distance(stride);
    const __m512i constants = _mm512_set_epi64(by.high, by.low, by.high, by.low, by.high, by.low, by.high, by.low);
    constexpr int xor_of_three = 0x96;

    __m512i folded[lanes];
    for (std::size_t i = 0; i < lanes; ++i) {
        folded[i] = _mm512_loadu_si512(data.data() + i * sizeof(__m512i));
    }
    folded[0] = _mm512_xor_si512(folded[0], _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, static_cast<long long>(state)));
    for (data = data.subspan(stride); data.size() >= stride; data = data.subspan(stride)) {
        for (std::size_t i = 0; i < lanes; ++i) {
            const __m512i low = _mm512_clmulepi64_epi128(folded[i], constants, 0x00);
            const __m512i high = _mm512_clmulepi64_epi128(folded[i], constants, 0x11);
            const __m512i next = _mm512_loadu_si512(data.data() + i * sizeof(__m512i));
            folded[i] = _mm512_ternarylogic_epi64(low, high, next, xor_of_three);
        }
    }

    std::array<std::uint8_t, stride> rest;
    for (std::size_t i = 0; i < lanes; ++i) {
        _mm512_storeu_si512(rest.data() + i * sizeof(__m512i), folded[i]);
    }
    return by_tables(data, by_pclmul(rest, 0));
}

}  // namespace bentosync::ways

#endif
