// CRC-64/NVME: the checksum that S3 computes over a whole object.
//
// Parameters (catalogue of parametrised CRC algorithms): width 64, polynomial AD93D23594C93659, reflected in and out,
// initial value and final XOR all ones, check value of "123456789": AE8B14860A799888.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace bentosync {

using Bytes = std::span<const std::uint8_t>;

// One way to compute the same value. `available` asks the processor and the operating system.
struct Crc64Nvme {
    std::string_view name;
    bool (*available)() noexcept;
    std::uint64_t (*update)(Bytes data, std::uint64_t state) noexcept;  // raw state: no initial value, no final XOR
};

// Every way compiled in, fastest first; the last one, tables, is available everywhere.
std::span<const Crc64Nvme> crc64nvme_ways() noexcept;

// The checksum of some bytes, or of what `initial` is the checksum of followed by these bytes.
std::uint64_t crc64nvme(Bytes data, std::uint64_t initial = 0) noexcept;
std::uint64_t crc64nvme(Bytes data, std::uint64_t initial, const Crc64Nvme& way) noexcept;

}  // namespace bentosync
