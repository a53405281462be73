// The volley for Python: one function, in whatever thread the caller can spare.
//
// Everything it holds lies behind one pointer, so that nothing in the frame that is without the GIL has a destructor; see
// `unlocked.hpp`.
#include <Python.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bentosync/volley.hpp"
#include "buffer.hpp"
#include "unlocked.hpp"

namespace nb = nanobind;

namespace {

struct Lent {
    std::vector<std::unique_ptr<bentosync::Buffer>> memory;
    std::unique_ptr<bentosync::Volley> volley;
};

std::span<const std::uint8_t> lend(Lent& lent, nb::handle object) {
    lent.memory.push_back(std::make_unique<bentosync::Buffer>(object, PyBUF_SIMPLE));
    return lent.memory.back()->bytes();
}

std::unique_ptr<Lent> prepared(PyObject* sockets, PyObject* shots, const char* echo_name, double silence_seconds,
                               int stop_fd) {
    auto lent = std::make_unique<Lent>();
    std::vector<int> numbers;
    for (const nb::handle number : nb::borrow<nb::sequence>(sockets)) {
        numbers.push_back(nb::cast<int>(number));
    }
    std::vector<bentosync::Shot> all;
    for (const nb::handle each : nb::borrow<nb::sequence>(shots)) {
        const auto shot = nb::borrow<nb::tuple>(each);
        const auto echo = lend(*lent, shot[2]);
        all.push_back({lend(*lent, shot[0]), lend(*lent, shot[1]),
                       {reinterpret_cast<const char*>(echo.data()), echo.size()}});
    }
    lent->volley = std::make_unique<bentosync::Volley>(numbers, std::move(all), echo_name,
                                                       static_cast<std::int64_t>(silence_seconds * 1e9), stop_fd);
    return lent;
}

PyObject* as_bytes(const std::vector<std::uint8_t>& values) {
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(values.data()),
                                     static_cast<Py_ssize_t>(values.size()));
}

Lent* lend_all(PyObject* sockets, PyObject* shots, const char* echo_name, double silence_seconds, int stop_fd) {
    try {
        return prepared(sockets, shots, echo_name, silence_seconds, stop_fd).release();
    } catch (nb::python_error& error) {
        error.restore();
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_TypeError, error.what());
    }
    return nullptr;
}

PyObject* give_back(Lent* lent) {
    PyObject* const results = as_bytes(lent->volley->results());
    PyObject* const resting = as_bytes(lent->volley->resting());
    delete lent;
    return Py_BuildValue("NN", results, resting);
}

PyObject* volley(PyObject*, PyObject* arguments) {
    PyObject* sockets = nullptr;
    PyObject* shots = nullptr;
    const char* echo_name = nullptr;
    double silence_seconds = 0;
    int stop_fd = -1;
    if (!PyArg_ParseTuple(arguments, "OOsdi", &sockets, &shots, &echo_name, &silence_seconds, &stop_fd)) {
        return nullptr;
    }
    Lent* const lent = lend_all(sockets, shots, echo_name, silence_seconds, stop_fd);
    if (lent == nullptr) {
        return nullptr;
    }
    bentosync::unlocked([lent] {
        lent->volley->run();
        return 0;
    });
    return give_back(lent);
}

PyMethodDef functions[] = {
    {"volley", volley, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void bind_volley(nb::module_& module) {
    if (PyModule_AddFunctions(module.ptr(), functions) != 0) {
        throw nb::python_error();
    }
}
