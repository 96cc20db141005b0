# How tests are registered with ctest: every case by itself, as <concept>.<case>, in a process of
# its own; a case that exits with 77 was skipped. Those labelled stress run by ctest -C stress only.

# What the tests may want to know of this build.
set(environment
    CC=${CMAKE_C_COMPILER} CXX=${CMAKE_CXX_COMPILER} GO=${GO_EXECUTABLE} CMAKE=${CMAKE_COMMAND}
    PYTHREAD_SOURCE_DIR=${PROJECT_SOURCE_DIR} PYTHREAD_BINARY_DIR=${PROJECT_BINARY_DIR}
    PYTHREAD_LIBRARY=${PYTHREAD_LIBRARY} PYTHREAD_PYTHON=${PYTHREAD_PYTHON}
    PYTHREAD_STRESS_SECONDS=${PYTHREAD_STRESS_SECONDS})

set(run "")
set(slower 1)
if(PYTHREAD_SANITIZE STREQUAL "valgrind")
    find_program(VALGRIND_EXECUTABLE valgrind REQUIRED)
    # Leaks are AddressSanitizer's to find: it takes no thread that a fork left behind for one.
    set(run ${VALGRIND_EXECUTABLE} --quiet --error-exitcode=1 --max-threads=20000
        --suppressions=${PROJECT_SOURCE_DIR}/ctest/valgrind.supp)
    set(slower 20)
elseif(NOT PYTHREAD_SANITIZE STREQUAL "none")
    set(slower 5)
    # AddressSanitizer would give each thread a signal stack, and free the one it finds at its end.
    # And faults are the tests' own.
    list(APPEND environment
         ASAN_OPTIONS=use_sigaltstack=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0)
endif()

# Registers each case as COMMAND <case>; one that takes longer than TIMEOUT seconds fails.
function(pythread_add_cases concept)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "CASES;COMMAND;LABELS")
    if(NOT arg_CASES)
        message(FATAL_ERROR "${concept} has no test cases")
    endif()
    math(EXPR timeout "${arg_TIMEOUT} * ${slower}")
    foreach(case IN LISTS arg_CASES)
        set(test ${concept}.${case})
        if(stress IN_LIST arg_LABELS)
            add_test(NAME ${test} COMMAND ${arg_COMMAND} ${case} CONFIGURATIONS stress)
        else()
            add_test(NAME ${test} COMMAND ${arg_COMMAND} ${case})
        endif()
        set_tests_properties(
            ${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${timeout} LABELS "${arg_LABELS}"
                               ENVIRONMENT "${environment}")
    endforeach()
endfunction()

# Builds <concept>_test.c and registers the cases that its TEST(case) lines define.
function(pythread_add_tests concept)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "LIBRARIES;LABELS")
    set(program ${concept}_test)
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/${program}.c)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
    file(STRINGS ${source} cases REGEX "^TEST\\(")
    list(TRANSFORM cases REPLACE "^TEST\\(([A-Za-z0-9_]+)\\).*" "\\1")

    add_executable(${program} ${source})
    target_link_libraries(${program} PRIVATE pythread::pythread Threads::Threads ${arg_LIBRARIES})
    pythread_add_cases(${concept} CASES ${cases} COMMAND ${run} $<TARGET_FILE:${program}>
                       TIMEOUT ${arg_TIMEOUT} LABELS ${arg_LABELS})
endfunction()

# Registers the cases that <concept>_test.sh --list prints, each run with the further arguments.
function(pythread_add_script_tests concept)
    set(command sh ${CMAKE_CURRENT_SOURCE_DIR}/${concept}_test.sh)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${concept}_test.sh)
    execute_process(COMMAND ${command} --list OUTPUT_VARIABLE cases COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "[^\n]+" cases "${cases}")
    pythread_add_cases(${concept} CASES ${cases} COMMAND ${command} ${ARGN} TIMEOUT 300)
endfunction()
