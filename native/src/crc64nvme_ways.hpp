// The ways to compute CRC-64/NVME, private to the core. All work on the raw state.
#pragma once

#include "bentosync/crc64nvme.hpp"

namespace bentosync::ways {

// Eight table lookups for eight bytes: any processor.
std::uint64_t by_tables(Bytes data, std::uint64_t state) noexcept;

#if defined(__x86_64__)
// Carry-less multiplication, 16 bytes an instruction.
bool has_pclmul() noexcept;
std::uint64_t by_pclmul(Bytes data, std::uint64_t state) noexcept;

// The same on AVX-512 registers, 64 bytes an instruction.
bool has_vpclmul() noexcept;
std::uint64_t by_vpclmul(Bytes data, std::uint64_t state) noexcept;
#endif

}  // namespace bentosync::ways
