# What the stories share: programs, a SoftHSM2 token, certificates, and KMS with the AWS CLI as the user's hand. To be
# sourced, from anywhere; it goes to the project's folder.
#
# Needs softhsm2-util, openssl, the AWS CLI (version 1 or 2), and cargo unless XKS_PROXY and KMS_DOUBLE name the programs.
# A story whose server calls AWS itself sets needs_cloud=1: the server is built with `--features cloud` then, which takes
# some minutes more the first time.
# TIMEOUT_MS is the time that KMS gives the proxy: 250, as AWS KMS does, which a slow machine may not keep.
# Everything is in a folder of its own, which goes at the end. The exit code is 0 when all went as it has to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PATH="$PWD/target/tools/bin:$PATH"
timeout_ms=${TIMEOUT_MS:-250}

say() {
    printf '\n== %s\n' "$*"
}

give_up() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}

random_hex() {
    od -An -v -tx1 -N"$1" /dev/urandom | tr -d ' \n'
}

hex() {
    od -An -v -tx1 "$1" | tr -d ' \n'
}

for tool in softhsm2-util openssl aws; do
    command -v "$tool" >/dev/null || give_up "$tool is missing: bash scripts/setup installs what the tests need"
done
# Where distributions and a build of one's own put the module.
for module in {/usr,/usr/local,/opt/homebrew}/{lib,lib64,lib/*}/{softhsm,pkcs11}/libsofthsm2.so none; do
    [[ ! -f $module ]] || break
done
[[ $module != none ]] || give_up "SoftHSM2's module is missing"
if [[ -z ${XKS_PROXY:-} || -z ${KMS_DOUBLE:-} ]]; then
    cargo build --release --locked -p xks-proxy -p kms-double ${needs_cloud:+--features xks-proxy/cloud}
    XKS_PROXY=${CARGO_TARGET_DIR:-$PWD/target}/release/xks-proxy
    KMS_DOUBLE=${CARGO_TARGET_DIR:-$PWD/target}/release/kms-double
fi

umask 077
folder=$(mktemp -d)
folders=("$folder")
pids=()
clean_up() {
    local status=$? pid log at
    if ((status != 0)); then
        for log in "$folder"/*.log; do
            [[ ! -s $log ]] || printf '\n%s:\n%s\n' "${log##*/}" "$(<"$log")" >&2
        done
    fi
    # What was started last ends first: a database waits for who is connected.
    for ((at = ${#pids[@]} - 1; at >= 0; at--)); do
        pid=${pids[at]}
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "${folders[@]}"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# Waits until a line stands in a file, and prints what follows its beginning.
value_from() {
    local file=$1 beginning=$2 pid=$3
    for _ in {1..600}; do
        if sed -n "s|^ *$beginning *||p" "$file" | head -n 1 | grep .; then
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    cat "$file" >&2
    return 1
}

# A token of this label, empty, whose PIN is in $folder/pin.
make_token() {
    export SOFTHSM2_CONF=$folder/softhsm2.conf
    mkdir "$folder/tokens"
    cat >"$SOFTHSM2_CONF" <<END
directories.tokendir = $folder/tokens
objectstore.backend = file
log.level = ERROR
END
    random_hex 8 >"$folder/pin"
    softhsm2-util --init-token --free --label "$1" --so-pin "$(random_hex 8)" --pin "$(<"$folder/pin")"
}

# Puts an AES-256 key into the token of this label, under a label and an id, with other programs than ours.
import_key() {
    # softhsm2-util takes a key as a line of text: it ends at the first zero or line break.
    LC_ALL=C tr -d '\0\n' < <(head -c 256 /dev/urandom) | head -c 32 >"$folder/key"
    softhsm2-util --import "$folder/key" --aes --token "$1" --label "$2" --id "$3" --pin "$(<"$folder/pin")"
    rm "$folder/key"
}

# openssl tells of its progress where others tell of errors.
make_with_openssl() {
    openssl "$@" 2>"$folder/openssl.log" || give_up "openssl $1"
}

# A certificate for localhost, server.pem, from a CA of its own, ca.pem.
make_certificate() {
    make_with_openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=CA of a demo" \
        -keyout "$folder/ca-key.pem" -out "$folder/ca.pem"
    make_with_openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$folder/server-key.pem" -out "$folder/server.csr"
    make_with_openssl x509 -req -in "$folder/server.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca-key.pem" \
        -CAcreateserial -days 2 -extfile <(printf 'subjectAltName=DNS:localhost\n') -out "$folder/server.pem"
}

# The token of this label as a backend, in the proxy's settings.
settings_of_backend() {
    cat <<END
[environment]
SOFTHSM2_CONF = "$SOFTHSM2_CONF"

[backends.softhsm]
kind = "pkcs11"
module = "$module"
vendor = "softhsm"
token_label = "$1"
pin_file = "$folder/pin"
END
}

# The part of the proxy's settings that the stories of one server have: listener, TLS, and that backend.
settings_of_token() {
    settings_of_backend "$1"
    cat <<END

[server]
listen = "127.0.0.1:0"
timeout_ms = $((timeout_ms * 4 / 5))
drain_delay_secs = 0

[tls]
certificate_chain = "server.pem"
private_key = "server-key.pem"
END
}

# Starts the proxy with $folder/settings.toml: $proxy is its process, $endpoint where KMS finds it. It comes back where it
# was.
start_proxy() {
    : >"$folder/proxy.out"
    "$XKS_PROXY" --config "$folder/settings.toml" --listen "127.0.0.1:${port:-0}" >"$folder/proxy.out" 2>>"$folder/proxy.log" &
    proxy=$!
    pids+=("$proxy")
    local address
    address=$(value_from "$folder/proxy.out" address "$proxy") || give_up "the proxy does not start"
    value_from "$folder/proxy.out" "Ready" "$proxy" >/dev/null || give_up "the proxy is not ready"
    port=${address##*:}
    endpoint=https://localhost:$port
}

# Stops the proxy, as a service manager does.
stop_proxy() {
    kill "$proxy"
    wait "$proxy" || give_up "the proxy did not stop cleanly"
}

# Starts KMS, with further options. From here on, `kms` is its command line.
start_kms() {
    "$KMS_DOUBLE" serve --listen 127.0.0.1:0 --proxy-ca-file "$folder/ca.pem" --timeout-ms "$timeout_ms" "$@" \
        >"$folder/kms.out" 2>"$folder/kms.log" &
    pids+=("$!")
    url=$(value_from "$folder/kms.out" "Listening on" "$!") || give_up "KMS does not start"
    url=${url%%,*}
    echo "$url"
    # Nothing of the caller's own configuration, and nothing that leaves this machine.
    unset "${!AWS_@}"
    export AWS_ACCESS_KEY_ID=ALICE AWS_SECRET_ACCESS_KEY=any-secret-will-do AWS_DEFAULT_REGION=us-east-1 AWS_PAGER=
    export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
    export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
}

# Access keys of these users, which a KMS verifies that is started with --verify-callers "$folder/access-keys".
make_access_keys() {
    local user
    for user in "$@"; do
        printf '%s' "AKIA$(random_hex 8 | tr a-f A-F)" >"$folder/$user.id"
        random_hex 20 >"$folder/$user.secret"
        printf '%s,%s,%s\n' "$user" "$(<"$folder/$user.id")" "$(<"$folder/$user.secret")" >>"$folder/access-keys"
    done
}
# Calls KMS as this user from here on.
act_as() {
    AWS_ACCESS_KEY_ID=$(<"$folder/$1.id") AWS_SECRET_ACCESS_KEY=$(<"$folder/$1.secret")
}

kms() {
    aws --endpoint-url "$url" --output text kms "$@"
}

# An operation of KMS that has to fail with this exception.
must_fail() {
    local exception=$1 said
    shift
    if said=$(kms "$@" 2>&1); then
        give_up "$1 went well, and should have failed with $exception"
    fi
    [[ $said == *"($exception)"* ]] || give_up "$1 should have failed with $exception, and not so: $said"
    printf '%s\n' "$said" | sed '/^$/d'
}

# A credential out of what `create-credential --console-json` and `rotate-credential --console-json` print.
credential_of() {
    sed -n 's/.*"XksProxyAuthenticationCredential":\({[^}]*}\).*/\1/p'
}

# The command line of administration.
admin() {
    printf '$ xks-proxy %s\n' "$*" >&2
    "$XKS_PROXY" "$@" --config "$folder/settings.toml"
}

# One field of what a command of administration shows.
field() {
    sed -n "s/^$1  *//p"
}

# Makes an external key store in KMS and connects it: its name, its path's prefix, and a credential as JSON.
# $store is its id.
connect_key_store() {
    # In a file: the secret stays off the command line, and version 1 of the AWS CLI would fetch a parameter that is a URL.
    cat >"$folder/key-store.json" <<END
{
    "CustomKeyStoreName": "$1",
    "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
    "XksProxyConnectivity": "PUBLIC_ENDPOINT",
    "XksProxyUriEndpoint": "$endpoint",
    "XksProxyUriPath": "$2/kms/xks/v1",
    "XksProxyAuthenticationCredential": $3
}
END
    local state
    store=$(kms create-custom-key-store --cli-input-json "file://$folder/key-store.json" --query CustomKeyStoreId)
    rm "$folder/key-store.json"
    kms connect-custom-key-store --custom-key-store-id "$store"
    state=$(kms describe-custom-key-stores --custom-key-store-id "$store" --query 'CustomKeyStores[0].ConnectionState')
    echo "$store is $state"
    [[ $state == CONNECTED ]] || give_up "the key store is not connected"
}

# Makes a KMS key over an external key, with an alias. $key is its ARN.
make_kms_key() {
    key=$(kms create-key --origin EXTERNAL_KEY_STORE --custom-key-store-id "$store" --xks-key-id "$1" \
        --query KeyMetadata.Arn)
    kms create-alias --alias-name "alias/$2" --target-key-id "$key"
    echo "$key"
}

# Encrypts an object as Amazon S3 does: the object's name is the encryption context; what is "in the bucket" is the file,
# its IV and the data key that it is encrypted under, itself encrypted. In S3 the cipher is AES-256-GCM, which openssl's
# command does not have.
context_of() {
    echo "aws:s3:arn=arn:aws:s3:::bucket/$1"
}
# put <file> <object> <alias>
put() {
    local answer plaintext blob
    mkdir -p "$folder/bucket"
    # Both fields of one answer: the data key must be used with its own ciphertext.
    answer=$(kms generate-data-key --key-id "alias/$3" --key-spec AES_256 \
        --encryption-context "$(context_of "$2")" --query '[Plaintext,CiphertextBlob]')
    read -r plaintext blob <<<"$answer"
    base64 -d <<<"$plaintext" >"$folder/data-key"
    base64 -d <<<"$blob" >"$folder/bucket/$2.key"
    random_hex 16 >"$folder/bucket/$2.iv"
    openssl enc -aes-256-ctr -K "$(hex "$folder/data-key")" -iv "$(<"$folder/bucket/$2.iv")" -in "$1" \
        -out "$folder/bucket/$2"
    rm "$folder/data-key"
}
# The call that decrypts an object's data key.
decrypt_of() {
    printf '%s\n' decrypt --ciphertext-blob "fileb://$folder/bucket/$1.key" --encryption-context "$(context_of "$1")"
}
# Reads an object, and compares it with the file that it was.
get_and_compare() {
    local decrypt
    mapfile -t decrypt < <(decrypt_of "$2")
    kms "${decrypt[@]}" --query Plaintext | base64 -d >"$folder/data-key"
    openssl enc -d -aes-256-ctr -K "$(hex "$folder/data-key")" -iv "$(<"$folder/bucket/$2.iv")" \
        -in "$folder/bucket/$2" -out "$folder/read"
    rm "$folder/data-key"
    cmp "$1" "$folder/read" || give_up "what came back of $2 is not what went in"
    rm "$folder/read"
    echo "$2 is what it was."
}
# Reads an object's data key again and again while $folder/load is there, and says how often. Fails when a read fails.
read_under_load() {
    local done=0 decrypt
    mapfile -t decrypt < <(decrypt_of "$1")
    while [[ -e $folder/load ]]; do
        kms "${decrypt[@]}" --query KeyId >/dev/null || return 1
        ((done += 1))
    done
    echo "$done requests, none failed"
}
# An object that cannot be read now, for this exception.
must_not_read() {
    local decrypt
    mapfile -t decrypt < <(decrypt_of "$2")
    must_fail "$1" "${decrypt[@]}"
}
