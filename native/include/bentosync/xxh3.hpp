// XXH3-64 (specification: "XXH3 Algorithm Overview" of the xxHash project), with its default secret and no seed: the
// digest of a manifest's blocks.
//
// Only its part for inputs over 240 bytes. Shorter ones have four formulas of their own, and here they are the ends of
// some files: those are left to whoever can.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bentosync {

inline constexpr std::size_t xxh3_bytes_min = 241;

// One way to compute the same value. `available` asks the processor and the operating system.
struct Xxh3 {
    std::string_view name;
    bool (*available)() noexcept;
    std::uint64_t (*digest)(std::span<const std::uint8_t> data) noexcept;
};

// Every way compiled in, fastest first; the last one is available everywhere.
std::span<const Xxh3> xxh3_ways() noexcept;

// The digest of at least `xxh3_bytes_min` bytes.
std::uint64_t xxh3_64(std::span<const std::uint8_t> data) noexcept;

}  // namespace bentosync
