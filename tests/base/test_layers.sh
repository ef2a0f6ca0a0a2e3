#!/usr/bin/env bash
# Folders are layers: an #include never looks upward, and nothing above tensor/ sees a backend.
set -euo pipefail
layers=(base tensor model data eval train grpo cli)
failed=0
seen=0
level() { local i; for i in "${!layers[@]}"; do [ "${layers[$i]}" = "$1" ] && { echo "$i"; return; }; done; echo -1; }
while IFS=: read -r file _ line; do
  from=${file%%/*}
  to=$(sed -E 's/.*"([a-z]+)\/.*/\1/' <<<"$line")
  seen=$((seen + 1))
  if [ "$(level "$to")" -lt 0 ] || [ "$(level "$to")" -gt "$(level "$from")" ]; then
    echo "$file: includes upward or outside the layers: $line"
    failed=1
  fi
  if [ "$from" != tensor ] && grep -qE '"tensor/(backend|cpu|guard|cuda)' <<<"$line"; then
    echo "$file: looks inside tensor/: $line"
    failed=1
  fi
done < <(grep -rnE '^ *# *include *"' --include='*.c' --include='*.h' "${layers[@]}")
if grep -rnE '^ *# *include *"[^/"]*"' --include='*.c' --include='*.h' "${layers[@]}"; then
  echo "includes are written from the root"
  failed=1
fi
[ "$seen" -gt 10 ] || { echo "only $seen includes seen: the check is blind"; failed=1; }
exit $failed
