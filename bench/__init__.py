"""Every figure holdfast claims, measured beside its peer in the same run. ``make bench`` runs them all.

The contract of a module here (``bench/NAME.py``, one subject each; ``bench/frame/`` is the part they share):

- ``main(argv: Sequence[str]) -> int``, and ``if __name__ == "__main__": raise SystemExit(main(sys.argv[1:]))``.
- It understands ``--quick`` (seconds, not minutes: fewer rounds, the same code) and ``--json FILE``; get both from
  ``frame.figure.options(argv, __doc__)`` and end with ``return frame.figure.publish(__name__, figures, options)``,
  which prints the table, writes the JSON and gives the exit status.
- A figure compares samples of ours with samples of the peer, taken **interleaved in the same run**
  (``frame.figure.interleaved``), and is printed as the median of the per-round ratios with the range over the rounds.
  A figure without a peer (a budget, a count) leaves ``peer`` empty.
- A missing peer program is an error that names it, unless ``--quick``: then the figure is left out, and it says so.
- It starts what it measures, ends it by pid, listens on unix sockets or loopback, and writes below a temporary folder.

``python -m bench daemon rpc`` runs those two; ``python -m bench`` all of them. Results go to ``bench/results/``
(``report.md`` and one JSON file a module). ``python -m bench.frame.page`` puts them into ``docs/performance.md``, whose
words say how they were read.
"""
