# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Completion of hlfs(1) for bash.  Commands, options and operands are those that
# "hlfs --help" and "hlfs COMMAND --help" name, so they are always the ones of the hlfs that
# is run; only the words that an option takes stand here.

# _hlfs_values OPTION - the words that --OPTION, or -o OPTION=, takes.
_hlfs_values() {
    case $1 in
    io) echo read write rw ;;
    pattern) echo seq rand ;;
    compression) echo none ;;
    durability) echo local hflush hsync ;;
    full) echo error wait= ;;
    unreachable) echo wait error wait= ;;
    control | force | network-fs | cache-shared) echo yes no ;;
    block-size) echo 4K 8K 16K 32K 64K ;;
    esac
}

# _hlfs_paths d|f WORD - directories, or all files, that begin with WORD.  A volume is a
# directory too, but a whole word.
_hlfs_paths() {
    local kind=$1 word=$2 path

    compopt -o nospace 2> /dev/null
    while IFS= read -r path; do
        if [[ -d $path && ! -f $path/volume ]]; then
            COMPREPLY+=("$(printf '%q' "$path")/")
        else
            COMPREPLY+=("$(printf '%q' "$path") ")
        fi
    done < <(compgen "-$kind" -- "${word/#\~\//$HOME/}")
}

# _hlfs_argument OPTION ARGUMENT WORD - what --OPTION takes, which its help calls ARGUMENT.
_hlfs_argument() {
    case $2 in
    PATH | FILE) _hlfs_paths f "$3" ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$(_hlfs_values "$1")" -- "$3") ;;
    esac
}

# _hlfs_set HELP WORD - KEY=VALUE, of which WORD is the beginning.
_hlfs_set() {
    local keys

    if [[ $2 == *=* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_hlfs_values "${2%%=*}")" -- "${2#*=}")
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/${2%%=*}=}")
        return
    fi
    keys=$(sed -n '/^  -o KEY=VALUE/,$ { /^ \{20,\}/p }' <<< "$1")
    compopt -o nospace 2> /dev/null
    mapfile -t COMPREPLY < <(compgen -S = -W "$keys" -- "$2")
}

_hlfs() {
    local line=${COMP_LINE:0:COMP_POINT} words word last='' command='' help='' option operands
    local n=0 i
    declare -A takes=([-o]=KEY=VALUE)       # option: the name of its argument

    COMPREPLY=()
    read -ra words <<< "$line"
    [[ $line != *[[:blank:]] ]] || words+=('')
    word=${words[-1]}
    # The command, how many operands it has, and in LAST the option whose argument WORD is.
    for ((i = 1; i < ${#words[@]} - 1; i++)); do
        option=${words[i]}
        if [[ $last ]]; then
            last=''
        elif [[ ${takes[$option]-} ]]; then
            last=$option
        elif [[ $option == -* ]]; then
            :
        elif [[ ! $command ]]; then
            command=$option
            help=$("${words[0]}" "$command" --help 2> /dev/null) || return 0
            while read -r option operands; do
                takes[$option]=$operands
            done < <(sed -n 's/^  \(--[a-z-]*\) \([A-Z]\+\) .*/\1 \2/p' <<< "$help")
        else
            n=$((n + 1))
        fi
    done

    if [[ $last == -o ]]; then
        _hlfs_set "$help" "$word"
    elif [[ $last ]]; then
        _hlfs_argument "${last#--}" "${takes[$last]}" "$word"
    elif [[ $word == --*=* && ${takes[${word%%=*}]-} ]]; then
        option=${word%%=*}
        _hlfs_argument "${option#--}" "${takes[$option]}" "${word#*=}"
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/$option=}")
    elif [[ $word == -* ]]; then
        option=$(sed -n 's/^  \(--\?[a-z-]*\) .*/\1/p' <<< "$help")
        mapfile -t COMPREPLY < <(compgen -W "$option --help ${command:---version}" -- "$word")
    elif [[ ! $command ]]; then
        command=$("${words[0]}" --help 2> /dev/null |
            sed -n 's/^  \([a-z]\+\) .*/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$command" -- "$word")
    else
        read -ra operands <<< "$(sed -n '1s/^usage: hlfs [a-z]* \(.*\) \[OPTION\].*/\1/p' <<< "$help")"
        case ${operands[n]-} in
        *LOC* | *DIR*) _hlfs_paths d "$word" ;;
        FILE) _hlfs_paths f "$word" ;;
        esac
    fi
}

complete -F _hlfs hlfs
