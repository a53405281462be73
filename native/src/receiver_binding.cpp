// The receiver for Python. What Python lends is exported from `fill` to `settle`, `abort` or the end of the object, a
// body that is sent until its connection is parked or aborted;
// the object closes its connection before it lets go of the memory.
//
// Nothing here lets go of the GIL: `abort` and `stop` wait for one step of a thread that never asks for it. See
// `unlocked.hpp` for what taking it back would mean in a daemon thread while the interpreter exits.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bentosync/receiver.hpp"
#include "buffer.hpp"

namespace nb = nanobind;

namespace {

class LentConnection {
public:
    explicit LentConnection(std::shared_ptr<bentosync::Connection> connection) : connection_(std::move(connection)) {}
    ~LentConnection() { abort(); }
    LentConnection(const LentConnection&) = delete;
    LentConnection& operator=(const LentConnection&) = delete;

    bentosync::Connection& operator*() const noexcept { return *connection_; }

    bool ask(nb::bytes request) { return connection_->ask({request.c_str(), request.size()}); }

    bool fill(nb::handle destination) {
        lent_.emplace(destination, PyBUF_WRITABLE);
        return connection_->fill(lent_->writable_bytes());
    }

    bool land(nb::handle unit, int fd, std::uint64_t offset, std::size_t bytes, nb::bytes digests) {
        lent_.emplace(unit, PyBUF_WRITABLE);
        const auto* from = reinterpret_cast<const std::uint8_t*>(digests.c_str());
        const std::size_t units = (bytes + lent_->bytes().size() - 1) / std::max<std::size_t>(1, lent_->bytes().size());
        if (bytes == 0 || digests.size() != units * 8) {
            lent_.reset();
            throw nb::value_error("there must be bytes to land, and a digest for each unit of them");
        }
        return connection_->land(lent_->writable_bytes(), {fd, offset, bytes, {from, from + digests.size()}});
    }

    bool give(nb::bytes head, nb::sequence body) {
        std::deque<bentosync::Buffer> lent;
        std::vector<std::span<const std::uint8_t>> pieces;
        for (nb::handle piece : body) {
            pieces.push_back(lent.emplace_back(piece, PyBUF_SIMPLE).bytes());
        }
        if (!connection_->give({head.c_str(), head.size()}, std::move(pieces))) {
            return false;
        }
        lent_body_.swap(lent);
        return true;
    }

    bool converse(nb::handle reply) {
        lent_.emplace(reply, PyBUF_WRITABLE);
        return connection_->converse(lent_->writable_bytes());
    }

    bool park() {
        const bool parked = connection_->park();
        if (parked) {
            lent_body_.clear();
        }
        return parked;
    }

    nb::tuple settle() {
        lent_.reset();
        const auto outcome = connection_->settle();
        return nb::make_tuple(static_cast<int>(outcome.fault.kind), outcome.bytes, outcome.fault.code,
                              outcome.fault.text);
    }

    nb::tuple spent() {
        const auto spent = connection_->spent();
        return nb::make_tuple(1e-9 * static_cast<double>(spent.digests), 1e-9 * static_cast<double>(spent.disk),
                              1e-9 * static_cast<double>(spent.disk_cpu));
    }

    nb::bytes take_head() {
        const auto head = connection_->take_head();
        return nb::bytes(head.data(), head.size());
    }

    void abort() {
        connection_->abort();
        lent_.reset();
        lent_body_.clear();
    }

private:
    std::shared_ptr<bentosync::Connection> connection_;
    std::optional<bentosync::Buffer> lent_;
    std::deque<bentosync::Buffer> lent_body_;
};

}  // namespace

void bind_receiver(nb::module_& module) {
    // An interpreter that exits in the middle of a transfer is no leak worth a line on somebody's terminal.
    nb::set_leak_warnings(false);

    module.def("openssl_version", []() -> nb::object {
        const auto* library = bentosync::openssl::library();
        return library == nullptr ? nb::none() : nb::object(nb::str(library->OpenSSL_version(0)));
    });

    nb::exception<bentosync::Refused>(module, "Refused");

    nb::class_<bentosync::Trust>(module, "Trust")
        .def("__init__",
             [](bentosync::Trust* self, std::string file, std::string folder, std::string ciphers, std::string suites,
                unsigned long verify_flags, int version_min) {
                 new (self) bentosync::Trust({std::move(file), std::move(folder), std::move(ciphers), std::move(suites), verify_flags,
                                              version_min});
             },
             nb::kw_only(), nb::arg("file"), nb::arg("folder"), nb::arg("ciphers"), nb::arg("suites") = "",
             nb::arg("verify_flags"),
             nb::arg("version_min"));

    nb::class_<LentConnection>(module, "Connection")
        .def_prop_ro("id", [](const LentConnection& self) { return (*self).id(); })
        .def("ask", &LentConnection::ask)
        .def("next_head", [](const LentConnection& self) { return (*self).next_head(); })
        .def("fill", &LentConnection::fill)
        .def("land", &LentConnection::land, nb::arg("unit"), nb::kw_only(), nb::arg("fd"), nb::arg("offset"),
             nb::arg("bytes"), nb::arg("digests"))
        .def("landed", [](const LentConnection& self) { return (*self).landed(); })
        .def("arrived", [](const LentConnection& self) { return (*self).arrived(); })
        .def("settle", &LentConnection::settle)
        .def("spent", &LentConnection::spent)
        .def("take_head", &LentConnection::take_head)
        .def("surplus", [](const LentConnection& self) { return (*self).surplus(); })
        .def("give", &LentConnection::give)
        .def("converse", &LentConnection::converse)
        .def("undelivered", [](const LentConnection& self) { return (*self).undelivered(); })
        .def("park", &LentConnection::park)
        .def("is_parked", [](const LentConnection& self) { return (*self).is_parked(); })
        .def("silent_seconds", [](const LentConnection& self) { return (*self).silent_seconds(); })
        .def("nudge", [](const LentConnection& self) { (*self).nudge(); })
        .def("abort", &LentConnection::abort);

    nb::class_<bentosync::Receiver>(module, "Receiver")
        .def(nb::init<unsigned>(), nb::arg("threads"))
        .def("fileno", &bentosync::Receiver::fd)
        .def("ended", &bentosync::Receiver::ended)
        .def("adopt",
             [](bentosync::Receiver& self, int fd, std::shared_ptr<bentosync::Trust> trust, const std::string& host,
                bool host_is_address) {
                 return new LentConnection(self.adopt(fd, std::move(trust), host, host_is_address));
             },
             nb::arg("fd"), nb::arg("trust").none(), nb::arg("host"), nb::arg("host_is_address"),
             nb::rv_policy::take_ownership)
        .def("halt", &bentosync::Receiver::halt)
        .def("stop", &bentosync::Receiver::stop);
}
