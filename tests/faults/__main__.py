"""`python -m tests.faults --kills 200 --seed 1`: kills on both databases, and a line for each."""

import argparse
import signal
import sys

from tests.faults.homes import DATABASES, homes_on
from tests.faults.kills import A_ROUND, Scratch, play


def main() -> None:
    """Play rounds until there were so many kills; exit status 1 if anything was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; the next ones follow")
    parser.add_argument("--database", choices=DATABASES, action="append", default=[])
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and all that was started with it
    lines, faults = [], 0
    for database in asked.database or DATABASES:
        done, seed, counts = 0, asked.seed, [0, 0, 0]
        with homes_on(database) as homes:
            scratch = Scratch.of(homes)
            while done < asked.kills:
                played = play(homes, scratch, seed, min(A_ROUND, asked.kills - done))
                done, seed = done + played.kills, seed + 1
                told = vars(played.verdict)
                counts = [count + len(found) for count, found in zip(counts, told.values(), strict=True)]
                print(f"{database}, round {played.seed}: {played.kills} kills, {done} of {asked.kills}", flush=True)
                for kind, found in told.items():
                    print(*(f"  {kind}: {one}" for one in found[:10]), sep="\n", end="\n" if found else "", flush=True)
                if played.verdict:
                    print(
                        f"  again: python -m tests.faults --database {database} --kills {A_ROUND} --seed {played.seed}"
                    )
        lost, doubled, wrong = counts
        faults += sum(counts)
        lines.append(f"{done} kills: {lost} lost, {doubled} doubled, {wrong} wrong ({database})")
    print(*lines, sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
