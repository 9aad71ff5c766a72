# SPDX-License-Identifier: Apache-2.0
# cmake -D SOURCE=… -D HEADER=… -P commit.cmake: the commit that is built, as a header, which is only
# written where it has changed. "unknown" outside of a clone, "…-modified" where files differ from it.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD OUTPUT_VARIABLE commit
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
else()
  execute_process(COMMAND git -C ${SOURCE} diff --quiet HEAD ERROR_QUIET RESULT_VARIABLE differs)
  if(differs)
    string(APPEND commit "-modified")
  endif()
endif()
file(CONFIGURE OUTPUT ${HEADER} CONTENT "#define TANUL_COMMIT \"@commit@\"\n" @ONLY)
