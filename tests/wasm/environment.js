// SPDX-License-Identifier: MIT
// Linked in front of a test program (em++ --pre-js): std::getenv sees the environment of Node.js.
Module["preRun"] = () => Object.assign(ENV, process.env);
