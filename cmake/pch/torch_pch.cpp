// Anchor of the shared precompiled header (cmake/ModuleTarget.cmake).
