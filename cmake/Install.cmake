# `cmake --install BUILD --prefix DIR`: a tree that can be moved as a whole.
#
#   bin/train, run_all, mpeft     lib/libmpeft_ops.so     share/mamba-peft/cfg
#
# Executables find the operator library beside themselves ($ORIGIN). LibTorch is not copied: its folders of this machine
# are in the run path, and LD_LIBRARY_PATH, searched before it, names another one.
include(GNUInstallDirs)
option(MPEFT_INSTALL_LIBTORCH_RPATH "Installed executables also look for LibTorch where it was when they were built" ON)

set(_run_path "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
if(MPEFT_INSTALL_LIBTORCH_RPATH)
  list(APPEND _run_path ${LibTorch_LIBRARY_DIRS})
endif()

foreach(_target IN ITEMS train run_all mpeft)
  if(TARGET ${_target})
    set_target_properties(${_target} PROPERTIES INSTALL_RPATH "${_run_path}")
    install(TARGETS ${_target} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

set_target_properties(mpeft_ops PROPERTIES INSTALL_RPATH "$ORIGIN;${_run_path}")
install(TARGETS mpeft_ops LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cfg" DESTINATION ${CMAKE_INSTALL_DATADIR}/mamba-peft)
