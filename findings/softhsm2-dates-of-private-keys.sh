#!/usr/bin/env bash
# SoftHSM2 2.6.1 (Debian 12, 2.6.1-2.1) stores CKA_START_DATE and CKA_END_DATE of a key, but reading one of them back
# from a key with CKA_PRIVATE true fails with CKR_GENERAL_ERROR, also for a logged-in user. Other attributes of the same
# key are readable, and both dates of a key with CKA_PRIVATE false are.
#
# Why it matters: a program that asks for the dates together with other attributes, in one C_GetAttributeValue, gets
# CKR_GENERAL_ERROR for the whole call, which looks like a failing device. Dates have to be read in a call of their own.
#
# Exit status 0: the behaviour is as described. 1: it has changed. Needs apt-get, dpkg and Python 3 with venv.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

apt-get -qq download libsofthsm2=2.6.1-2.1 softhsm2=2.6.1-2.1 softhsm2-common=2.6.1-2.1 2>/dev/null
for package in ./*.deb; do
    dpkg -x "$package" root
done
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install --only-binary :all: python-pkcs11==0.10.1

mkdir tokens
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\n' "$folder" >softhsm2.conf
export SOFTHSM2_CONF=$folder/softhsm2.conf
root/usr/bin/softhsm2-util --module "$folder/root/usr/lib/softhsm/libsofthsm2.so" \
    --init-token --free --label token --so-pin 12345678 --pin 1234 >/dev/null

python/bin/python - "$folder/root/usr/lib/softhsm/libsofthsm2.so" <<'END' | tee seen
import datetime, sys
import pkcs11
from pkcs11 import Attribute

dates = {Attribute.START_DATE: datetime.date(2026, 1, 1), Attribute.END_DATE: datetime.date(2027, 1, 1)}
token = pkcs11.lib(sys.argv[1]).get_token(token_label="token")
with token.open(user_pin="1234", rw=True) as session:
    for private in (False, True):
        key = session.generate_key(
            pkcs11.KeyType.AES, 256, label=f"key-{private}", store=True, template={Attribute.PRIVATE: private, **dates}
        )
        for attribute in (*dates, Attribute.LABEL):
            try:
                seen = key[attribute]
            except pkcs11.PKCS11Error as error:
                seen = type(error).__name__
            print(f"CKA_PRIVATE {private}: CKA_{attribute.name} {seen}")
END

diff seen - <<'END'
CKA_PRIVATE False: CKA_START_DATE 2026-01-01
CKA_PRIVATE False: CKA_END_DATE 2027-01-01
CKA_PRIVATE False: CKA_LABEL key-False
CKA_PRIVATE True: CKA_START_DATE GeneralError
CKA_PRIVATE True: CKA_END_DATE GeneralError
CKA_PRIVATE True: CKA_LABEL key-True
END
