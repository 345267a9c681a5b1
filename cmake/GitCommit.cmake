# Writes the commit of the source tree into a header, at each build: cmake -DSOURCE=… -DOUTPUT=… -P GitCommit.cmake
# A tree with changes that are not committed is "<commit>+"; what is no clone is "unknown". The file is written only when
# it changes, so that nothing is compiled for it otherwise.
set(commit "unknown")
execute_process(COMMAND git -C "${SOURCE}" rev-parse --short=12 HEAD
                OUTPUT_VARIABLE head ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
if(status EQUAL 0)
  set(commit "${head}")
  execute_process(COMMAND git -C "${SOURCE}" status --porcelain --untracked-files=no
                  OUTPUT_VARIABLE changes ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0 AND changes)
    string(APPEND commit "+")
  endif()
endif()
set(text "#define MPEFT_GIT_COMMIT \"${commit}\"\n")
set(old "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" old)
endif()
if(NOT text STREQUAL old)
  file(WRITE "${OUTPUT}" "${text}")
endif()
