# What the stories of several nodes share: PostgreSQL, two nodes, HAProxy in front, and commands to either node. To be
# sourced, after common.bash.
#
# Needs PostgreSQL and HAProxy beside what common.bash needs.

# Debian keeps them where a user's path does not lead.
PATH="$PATH:/usr/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)"
for tool in initdb haproxy; do
    command -v "$tool" >/dev/null || give_up "$tool is missing: bash scripts/setup installs what the tests need"
done

in_database() {
    (cd / && env PATH="$PATH" PGPASSWORD="$password" "${as_postgres[@]}" "$@")
}
sql() {
    in_database psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$database" -U postgres -c "$1"
}
# PostgreSQL, in a folder of its own, on a Unix socket; a database for the nodes.
start_database() {
    database=$(mktemp -d)
    folders+=("$database")
    as_postgres=()
    if ((EUID == 0)); then # as which PostgreSQL does not run
        as_postgres=(setpriv --reuid=postgres --regid=postgres --init-groups)
        chown postgres "$database"
    fi
    password=$(random_hex 16)
    printf '%s\n' "$password" >"$folder/password"
    # The password goes through a file that PostgreSQL's user can read.
    in_database sh -c 'cat >"$1/password" && initdb --no-locale --encoding=UTF8 --username=postgres --auth=scram-sha-256 \
        --pgdata "$1/data" --pwfile "$1/password"' sh "$database" <<<"$password" >"$folder/initdb.out"
    in_database postgres -D "$database/data" -k "$database" -c listen_addresses= >"$folder/postgres.log" 2>&1 &
    pids+=("$!")
    for _ in {1..600}; do
        ! sql 'SELECT 1' >"$folder/psql.out" 2>&1 || break
        sleep 0.1
    done
    sql "CREATE ROLE xks LOGIN PASSWORD '$password'"
    sql "CREATE DATABASE xks OWNER xks"
    sql "SELECT version()"
}

# The settings of a node that all stories have: its name.
settings_of_node() {
    cat <<END
[server]
listen = "127.0.0.1:0"
timeout_ms = $((timeout_ms * 4 / 5))
drain_delay_secs = 2

[store]
url = "postgres:///xks?user=xks&host=$database"
password_file = "../password"

[[store.roots]]
name = "recovery"
file = "../recovery.root"

[lifecycle]
node = "$1"
lease_secs = 5
admin_socket = "admin.sock"
END
}

declare -A address=() process=()
# Starts a node, where it was before if it was.
start_node() {
    : >"$folder/$1.out"
    "$XKS_PROXY" --config "$folder/$1/settings.toml" --listen "${address[$1]:-127.0.0.1:0}" \
        >"$folder/$1.out" 2>>"$folder/$1.log" &
    process[$1]=$!
    pids+=("$!")
    local url
    url=$(value_from "$folder/$1.out" address "$!") || give_up "node $1 does not start"
    value_from "$folder/$1.out" "Ready" "$!" >/dev/null || give_up "node $1 is not ready"
    address[$1]=${url##*/}
}
# A command of administration, given to a node.
on() {
    local node=$1
    shift
    printf '%s$ xks-proxy %s\n' "$node" "$*" >&2
    "$XKS_PROXY" "$@" --config "$folder/$node/settings.toml" 2>"$folder/said" || give_up "$(<"$folder/said")"
    cat "$folder/said" >&2
    cp "$folder/said" "$folder/said.last"
}
# What the last command said has to have this in it.
must_say() {
    [[ $(<"$folder/said.last") == *"$1"* ]] || give_up "it should have said $1, and not so: $(<"$folder/said.last")"
}

# HAProxy in front of both nodes, with TLS, as docs/balancers.md has it: $endpoint is where KMS finds it.
start_balancer() {
    local front balancer
    cat "$folder/server.pem" "$folder/server-key.pem" >"$folder/all.pem"
    for _ in {1..20}; do
        front=$((20000 + RANDOM % 10000))
        cat >"$folder/haproxy.conf" <<END
defaults
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend xks
    mode http
    bind 127.0.0.1:$front ssl crt $folder/all.pem alpn h2,http/1.1
    default_backend xks
backend xks
    mode http
    option httpchk GET /ping
    option redispatch 1
    retry-on conn-failure empty-response
    server a ${address[a]} check inter 200ms fall 2 rise 1
    server b ${address[b]} check inter 200ms fall 2 rise 1
END
        haproxy -db -f "$folder/haproxy.conf" >"$folder/haproxy.log" 2>&1 &
        balancer=$!
        for _ in {1..100}; do
            # Something else may have the port.
            ! (: <"/dev/tcp/127.0.0.1/$front") 2>/dev/null || break
            kill -0 "$balancer" 2>/dev/null || break
            sleep 0.1
        done
        ! kill -0 "$balancer" 2>/dev/null || break
    done
    kill -0 "$balancer" 2>/dev/null || give_up "HAProxy does not start"
    pids+=("$balancer")
    endpoint=https://localhost:$front
    echo "$endpoint"
}

# How often a node has answered a decryption with this status, as its audit records say.
answered() {
    grep -c "operation=\"Decrypt\" .* status=$2 " "$folder/$1.log" || true
}
# Reads an object until both nodes have answered so: HAProxy gives them requests in turn.
through_both() {
    local status=$1 before_a before_b after_a=0 after_b=0
    shift
    before_a=$(answered a "$status") before_b=$(answered b "$status")
    for _ in {1..20}; do
        "$@" >"$folder/read.out"
        after_a=$(answered a "$status") after_b=$(answered b "$status")
        ((after_a == before_a || after_b == before_b)) || break
    done
    cat "$folder/read.out"
    echo "answered with status $status by a: $((after_a - before_a)), by b: $((after_b - before_b))"
    ((after_a > before_a && after_b > before_b)) || give_up "not both nodes were asked"
}
