#include "bentosync/xxh3.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bentosync {
namespace {

constexpr std::uint64_t prime32_1 = 0x9E37'79B1, prime32_2 = 0x85EB'CA77, prime32_3 = 0xC2B2'AE3D;
constexpr std::uint64_t prime64_1 = 0x9E37'79B1'85EB'CA87, prime64_2 = 0xC2B2'AE3D'27D4'EB4F,
                        prime64_3 = 0x1656'67B1'9E37'79F9, prime64_4 = 0x85EB'CA77'C2B2'AE63,
                        prime64_5 = 0x27D4'EB2F'1656'67C5;

constexpr std::size_t lanes = 8;
constexpr std::size_t stripe_bytes = lanes * sizeof(std::uint64_t);

// The specification's default secret.
alignas(64) constexpr std::array<std::uint8_t, 192> secret{
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};
// The secret moves on by 8 bytes a stripe; when it is used up the accumulators are scrambled, and it begins anew.
constexpr std::size_t secret_step = 8;
constexpr std::size_t stripes_per_round = (secret.size() - stripe_bytes) / secret_step;
constexpr std::size_t round_bytes = stripes_per_round * stripe_bytes;
constexpr std::size_t scramble_at = secret.size() - stripe_bytes;
constexpr std::size_t last_stripe_at = scramble_at - 7;
constexpr std::size_t merge_at = 11;

struct alignas(64) Lanes {
    std::uint64_t of[lanes]{prime32_3, prime64_1, prime64_2, prime64_3, prime64_4, prime32_2, prime64_5, prime32_1};
};

std::uint64_t little_endian(const std::uint8_t* from) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, from, sizeof value);
    if constexpr (std::endian::native == std::endian::big) {
        value = __builtin_bswap64(value);
    }
    return value;
}

std::uint64_t folded_product(std::uint64_t left, std::uint64_t right) noexcept {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(left) * right;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t merged(const Lanes& lanes_now, std::size_t bytes) noexcept {
    std::uint64_t hash = bytes * prime64_1;
    for (std::size_t i = 0; i < lanes; i += 2) {
        const std::uint8_t* key = secret.data() + merge_at + 8 * i;
        hash += folded_product(lanes_now.of[i] ^ little_endian(key), lanes_now.of[i + 1] ^ little_endian(key + 8));
    }
    hash = (hash ^ (hash >> 37)) * 0x1656'6791'9E37'79F9;
    return hash ^ (hash >> 32);
}

// `Way` has `accumulate(lanes, data, stripes, key)` and `scramble(lanes, key)`.
template <typename Way>
[[gnu::always_inline]] inline std::uint64_t digest_by(std::span<const std::uint8_t> data) noexcept {
    Lanes lanes_now;
    const std::uint8_t* from = data.data();
    const std::size_t rounds = (data.size() - 1) / round_bytes;
    for (std::size_t i = 0; i < rounds; ++i, from += round_bytes) {
        Way::accumulate(lanes_now, from, stripes_per_round, secret.data());
        Way::scramble(lanes_now, secret.data() + scramble_at);
    }
    const std::size_t rest = (data.size() - 1 - rounds * round_bytes) / stripe_bytes;
    Way::accumulate(lanes_now, from, rest, secret.data());
    Way::accumulate(lanes_now, data.data() + data.size() - stripe_bytes, 1, secret.data() + last_stripe_at);
    return merged(lanes_now, data.size());
}

struct Plain {
    static void accumulate(Lanes& lanes_now, const std::uint8_t* data, std::size_t stripes,
                           const std::uint8_t* key) noexcept {
        for (std::size_t stripe = 0; stripe < stripes; ++stripe, data += stripe_bytes, key += secret_step) {
            for (std::size_t i = 0; i < lanes; ++i) {
                const std::uint64_t value = little_endian(data + 8 * i);
                const std::uint64_t keyed = value ^ little_endian(key + 8 * i);
                lanes_now.of[i ^ 1] += value;
                lanes_now.of[i] += (keyed & 0xFFFF'FFFF) * (keyed >> 32);
            }
        }
    }

    static void scramble(Lanes& lanes_now, const std::uint8_t* key) noexcept {
        for (std::size_t i = 0; i < lanes; ++i) {
            const std::uint64_t value = lanes_now.of[i];
            lanes_now.of[i] = (value ^ (value >> 47) ^ little_endian(key + 8 * i)) * prime32_1;
        }
    }
};

std::uint64_t by_plain(std::span<const std::uint8_t> data) noexcept { return digest_by<Plain>(data); }

#if defined(__x86_64__)
#define BENTOSYNC_AVX2 __attribute__((target("avx2")))

// Two registers of four lanes. The whole loop is one function: what is inlined must have the same target.
BENTOSYNC_AVX2 std::uint64_t by_avx2(std::span<const std::uint8_t> data) noexcept {
    struct Half {
        BENTOSYNC_AVX2 static __m256i load(const std::uint8_t* from) noexcept {
            return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        }
        BENTOSYNC_AVX2 static __m256i add(__m256i lane, const std::uint8_t* from, const std::uint8_t* key) noexcept {
            const __m256i value = load(from);
            const __m256i keyed = _mm256_xor_si256(value, load(key));
            const __m256i product = _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32));
            const __m256i neighbour = _mm256_shuffle_epi32(value, _MM_SHUFFLE(1, 0, 3, 2));
            return _mm256_add_epi64(product, _mm256_add_epi64(lane, neighbour));
        }
        BENTOSYNC_AVX2 static __m256i scrambled(__m256i lane, const std::uint8_t* key) noexcept {
            const __m256i value = _mm256_xor_si256(_mm256_xor_si256(lane, _mm256_srli_epi64(lane, 47)), load(key));
            const __m256i prime = _mm256_set1_epi64x(static_cast<long long>(prime32_1));
            const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(value, 32), prime);
            return _mm256_add_epi64(_mm256_mul_epu32(value, prime), _mm256_slli_epi64(high, 32));
        }
    };
    constexpr std::size_t half = stripe_bytes / 2;
    Lanes lanes_now;
    auto* const stored = reinterpret_cast<__m256i*>(lanes_now.of);
    __m256i low = _mm256_load_si256(stored);
    __m256i high = _mm256_load_si256(stored + 1);

    const std::uint8_t* from = data.data();
    const std::size_t stripes = (data.size() - 1) / stripe_bytes;
    for (std::size_t done = 0; done < stripes;) {
        const std::size_t count = std::min(stripes - done, stripes_per_round);
        const std::uint8_t* key = secret.data();
        for (std::size_t stripe = 0; stripe < count; ++stripe, from += stripe_bytes, key += secret_step) {
            _mm_prefetch(reinterpret_cast<const char*>(from + 512), _MM_HINT_T0);
            low = Half::add(low, from, key);
            high = Half::add(high, from + half, key + half);
        }
        done += count;
        if (count == stripes_per_round && data.size() > done * stripe_bytes) {
            low = Half::scrambled(low, secret.data() + scramble_at);
            high = Half::scrambled(high, secret.data() + scramble_at + half);
        }
    }
    const std::uint8_t* const last = data.data() + data.size() - stripe_bytes;
    low = Half::add(low, last, secret.data() + last_stripe_at);
    high = Half::add(high, last + half, secret.data() + last_stripe_at + half);
    _mm256_store_si256(stored, low);
    _mm256_store_si256(stored + 1, high);
    return merged(lanes_now, data.size());
}
#endif

constexpr std::array all_ways{
#if defined(__x86_64__)
    Xxh3{"avx2", []() noexcept { return __builtin_cpu_supports("avx2") != 0; }, by_avx2},
#endif
    Xxh3{"plain", []() noexcept { return true; }, by_plain},
};

const Xxh3& fastest() noexcept {
    for (const auto& way : all_ways) {
        if (way.available()) {
            return way;
        }
    }
    return all_ways.back();
}

}  // namespace

std::span<const Xxh3> xxh3_ways() noexcept { return all_ways; }

std::uint64_t xxh3_64(std::span<const std::uint8_t> data) noexcept {
    static const Xxh3& way = fastest();
    return way.digest(data);
}

}  // namespace bentosync
