// Computing without the GIL, in functions that Python calls directly.
//
// A daemon thread that asks for the GIL while the interpreter exits is ended by CPython (up to 3.13) with pthread_exit,
// which unwinds its stack. A frame that must not throw turns that into std::terminate, and the functions that nanobind
// makes are such frames, as is the destructor of its gil_scoped_release. So what lets go of the GIL is a plain function
// of the C API, and nothing in its frame has a destructor: that would run without the GIL.
#pragma once

#include <Python.h>

namespace bentosync {

template <typename Compute>
auto unlocked(const Compute& compute) {
    PyThreadState* const state = PyEval_SaveThread();
    const auto result = compute();
    PyEval_RestoreThread(state);
    return result;
}

}  // namespace bentosync
