# mpeft_unity(TARGET...): with MPEFT_UNITY, eight sources are compiled as one. Every file that sees LibTorch costs 4 s before
# its own first line (templates that its headers only mention are instantiated anew in each), so this takes a third of the
# time. Whoever edits a file compiles it alone (preset dev); names in unnamed namespaces are unique in their module.
function(mpeft_unity)
  if(MPEFT_UNITY)
    set_target_properties(${ARGN} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

# mpeft_add_module(NAME [TORCH] [DEPENDS module...] [PRIVATE_LIBS target...])
#
# One static library `mpeft_NAME` from every .cpp below src/NAME, public headers in include/mpeft/NAME. TORCH gives it
# LibTorch's headers and the shared precompiled header.

add_library(mpeft_torch_pch OBJECT "${PROJECT_SOURCE_DIR}/cmake/pch/torch_pch.cpp")
target_link_libraries(mpeft_torch_pch PUBLIC LibTorch::cpu)
target_precompile_headers(mpeft_torch_pch PRIVATE "${PROJECT_SOURCE_DIR}/cmake/pch/torch_pch.h")

function(mpeft_add_module name)
  cmake_parse_arguments(arg "TORCH" "" "DEPENDS;PRIVATE_LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/src/${name}/*.cpp")
  set(target mpeft_${name})
  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/src")
    target_link_libraries(${target} PRIVATE ${arg_PRIVATE_LIBS})
    if(arg_TORCH)
      target_precompile_headers(${target} REUSE_FROM mpeft_torch_pch)
    endif()
    mpeft_unity(${target})
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} "${PROJECT_SOURCE_DIR}/include")
  if(arg_TORCH)
    target_link_libraries(${target} ${scope} LibTorch::cpu)
  endif()
  foreach(dep IN LISTS arg_DEPENDS)
    target_link_libraries(${target} ${scope} mpeft_${dep})
  endforeach()
  add_library(mpeft::${name} ALIAS ${target})
endfunction()
