#include "bentosync/crc64nvme.hpp"

#include <array>

#include "crc64nvme_ways.hpp"

namespace bentosync {
namespace {

constexpr std::array all_ways{
#if defined(__x86_64__)
    Crc64Nvme{"vpclmul", ways::has_vpclmul, ways::by_vpclmul},
    Crc64Nvme{"pclmul", ways::has_pclmul, ways::by_pclmul},
#endif
    Crc64Nvme{"tables", []() noexcept { return true; }, ways::by_tables},
};

const Crc64Nvme& fastest() noexcept {
    for (const auto& way : all_ways) {
        if (way.available()) {
            return way;
        }
    }
    return all_ways.back();
}

}  // namespace

std::span<const Crc64Nvme> crc64nvme_ways() noexcept { return all_ways; }

std::uint64_t crc64nvme(Bytes data, std::uint64_t initial) noexcept {
    static const Crc64Nvme& way = fastest();
    return crc64nvme(data, initial, way);
}

std::uint64_t crc64nvme(Bytes data, std::uint64_t initial, const Crc64Nvme& way) noexcept {
    return ~way.update(data, ~initial);
}

}  // namespace bentosync
