"""Scorers as users write them: good, slow, and broken ones."""

import os
import threading

import numpy as np


def first_column(batch):
    return batch.features[:, 0]


def mean_of_series(batch):
    return [window.series["hr"].value.mean() + window.series["spo2"].time_s.size for window in batch.windows]


def hungry(batch):
    return np.ones(1 << 30)[: len(batch)]


def talks(batch):
    print("a scorer may print what it likes" * 1000)
    return batch.features[:, 0]


def hangs(batch):
    threading.Event().wait()


def hangs_above_100(batch):
    if (batch.features[:, 0] > 100).any():
        threading.Event().wait()
    return batch.features[:, 0]


def dies(batch):
    os._exit(7)


def dies_above_100(batch):
    if (batch.features[:, 0] > 100).any():
        os._exit(7)
    return batch.features[:, 0]


def raises(batch):
    message = "no such patient"
    raise KeyError(message)


def too_few(batch):
    return np.zeros(len(batch) - 1)


def no_numbers(batch):
    return ["high"] * len(batch)
