// Every way to compute CRC-64/NVME against the definition, bit by bit, at every length and alignment that matters.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "bentosync/crc64nvme.hpp"
#include "bentosync/gf2.hpp"
#include "bentosync/xxh3.hpp"

namespace {

std::uint64_t by_definition(bentosync::Bytes data, std::uint64_t initial) {
    std::uint64_t state = ~initial;
    for (const std::uint8_t byte : data) {
        state ^= byte;
        for (int bit = 0; bit < 8; ++bit) {
            state = bentosync::gf2::times_x(state);
        }
    }
    return ~state;
}

void require(bool holds, const bentosync::Crc64Nvme& way, std::size_t offset, std::size_t size) {
    if (!holds) {
        std::fprintf(stderr, "%s differs: offset %zu, size %zu\n", way.name.data(), offset, size);
        std::exit(1);
    }
}

// Every way against the plain one, which tests/native/test_xxh3.py holds against the reference.
void all_xxh3() {
    for (std::size_t size = bentosync::xxh3_bytes_min; size < 3300; ++size) {
        for (std::size_t offset : {0, 1, 63}) {
            const auto block = std::make_unique<std::uint8_t[]>(offset + size);
            for (std::size_t i = 0; i < offset + size; ++i) {
                block[i] = static_cast<std::uint8_t>((i * 0x9E3779B1u) >> 13);
            }
            const std::span<const std::uint8_t> data(block.get() + offset, size);
            const auto wanted = bentosync::xxh3_ways().back().digest(data);
            for (const auto& way : bentosync::xxh3_ways()) {
                if (way.available() && way.digest(data) != wanted) {
                    std::fprintf(stderr, "%s differs: offset %zu, size %zu\n", way.name.data(), offset, size);
                    std::exit(1);
                }
            }
        }
    }
    std::printf("xxh3 ok\n");
}

}  // namespace

int main() {
    all_xxh3();
    for (const auto& way : bentosync::crc64nvme_ways()) {
        if (!way.available()) {
            continue;
        }
        for (std::size_t size = 0; size < 1300; ++size) {
            for (std::size_t offset : {0, 1, 7, 63}) {
                // A block of its own, exactly as long: the sanitizer sees every byte read past either end.
                const auto block = std::make_unique<std::uint8_t[]>(offset + size);
                for (std::size_t i = 0; i < offset + size; ++i) {
                    block[i] = static_cast<std::uint8_t>((i * 0x9E3779B1u) >> 13);
                }
                const bentosync::Bytes data(block.get() + offset, size);
                const std::uint64_t initial = size * 0x9E37'79B9'7F4A'7C15u;
                require(bentosync::crc64nvme(data, initial, way) == by_definition(data, initial), way, offset, size);
            }
        }
        std::printf("%s ok\n", way.name.data());
    }
}
