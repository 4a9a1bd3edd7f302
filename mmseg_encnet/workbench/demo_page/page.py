"""The page, in Gradio; it loads nothing from the internet."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmseg_encnet.errors import UserError
from mmseg_encnet.extras import require
from mmseg_encnet.predicting import Segmentor
from mmseg_encnet.workbench.demo_page import panels
from mmseg_encnet.workbench.demo_page.gate import MAX_UPLOAD
from mmseg_encnet.workbench.demo_page.session import Session, label_photograph, read_photograph
from mmseg_encnet.workbench.demo_page.uploads import Uploads

# Gradio reads this when imported: no telemetry, no check for newer versions.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
gradio = require('gradio', 'demo')

STATIC = Path(__file__).with_name('static')
# A session is dropped after this time without use, or when this many newer ones exist.
SECONDS_TO_KEEP, SESSIONS_TO_KEEP = 3600, 16
# Uploads that were never labelled are deleted after this time; Gradio looks every minute.
SECONDS_TO_UPLOAD = 600
# Photographs that may wait for the one that is being labelled, and events that may wait in all.
PHOTOGRAPHS_WAITING, EVENTS_WAITING = 8, 64
# Gradio's default fonts are loaded from the internet.
THEME = gradio.themes.Default(
    primary_hue='blue',
    neutral_hue='gray',
    font=['system-ui', 'sans-serif'],
    font_mono=['ui-monospace', 'monospace'],
)


class Turns:
    """Let one photograph be labelled at a time, and a bounded number wait.

    Args:
        waiting: Number of photographs that may wait.
    """

    def __init__(self, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(waiting + 1)
        self._turn = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn.

        Raises:
            UserError: Too many others are waiting.
        """
        if not self._places.acquire(blocking=False):
            raise UserError('Too many photographs are waiting; upload it again in a minute.')
        try:
            with self._turn:
                yield
        finally:
            self._places.release()


def build_app(segmentor: Segmentor, title: str, uploads: Uploads) -> Any:
    """Build the ASGI application of the page of a model.

    Args:
        segmentor: The model; it processes one photograph at a time.
        title: Name of the model.
        uploads: Where uploads are stored; the folder must be that of Gradio.
    """
    page = build_page(segmentor, title, uploads)
    page.queue(max_size=EVENTS_WAITING)
    page.state_session_capacity = SESSIONS_TO_KEEP
    pointer = (STATIC / 'pointer.js').read_text(encoding='utf-8')
    return gradio.mount_gradio_app(
        require('fastapi', 'demo').FastAPI(openapi_url=None),
        page,
        path='/',
        show_error=False,
        ssr_mode=False,
        run_history=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        theme=THEME,
        css_paths=STATIC / 'page.css',
        head=f'<script>{pointer}</script>',
    )


def build_page(segmentor: Segmentor, title: str, uploads: Uploads) -> gradio.Blocks:
    """Build the page of a model.

    Args:
        segmentor: The model; it processes one photograph at a time.
        title: Name of the model.
        uploads: Where uploads are stored.
    """
    turns = Turns(PHOTOGRAPHS_WAITING)

    def show(path: str, threshold: float) -> dict:
        """Label a photograph; on failure the previous results stay."""
        # Emptied for the next photograph.
        update = {upload: None, message: gradio.update(value='', visible=False)}
        try:
            with uploads.taken(path) as file, turns.turn():
                session, context = label_photograph(segmentor, read_photograph(file, segmentor))
        except UserError as error:
            return {**update, **_tell(str(error))}
        except Exception as error:
            logging.getLogger(__name__).exception('labelling a photograph failed')
            return {
                **update,
                **_tell(
                    f'labelling {Path(path).name} failed ({type(error).__name__}: {error}); choose '
                    'another photograph.'
                ),
            }
        return {
            **update,
            kept: session,
            slider: gradio.update(visible=session.can_remove),
            results: gradio.update(visible=True),
            photograph: panels.photograph_panel(context, Path(path).name),
            codewords: panels.codewords_panel(context),
            channels: panels.channels_panel(context),
            **_labelled(session, threshold),
        }

    def remove(session: Session | None, threshold: float) -> dict:
        """Label the photograph again from its session."""
        if session is None:
            return _tell('This session has expired; upload the photograph again.')
        return _labelled(session, threshold)

    def _labelled(session: Session, threshold: float) -> dict:
        prediction_html, legend_html = panels.labels_panels(session, threshold)
        return {
            prediction: prediction_html,
            legend: legend_html,
            presence: panels.presence_panel(session, threshold),
        }

    def _tell(sentence: str) -> dict:
        return {message: gradio.update(value=panels.message_panel(sentence), visible=True)}

    with gradio.Blocks(
        title=f'{title}: prediction and context',
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(60, SECONDS_TO_UPLOAD),
    ) as page:
        kept = gradio.State(time_to_live=SECONDS_TO_KEEP)
        gradio.Markdown(
            f'## {title}: prediction and context\n'
            'Upload a photograph to see its segmentation and the context used by the model. '
            'Point at a map to see the class and the codeword of a pixel.'
        )
        message = gradio.HTML(visible=False)
        with gradio.Row():
            with gradio.Column(scale=2, min_width=300):
                upload = gradio.File(
                    label='Photograph', file_types=['image'], height=150, elem_id='em-upload'
                )
                slider = gradio.Slider(
                    0,
                    1,
                    value=0,
                    step=0.01,
                    visible=False,
                    elem_id='em-threshold',
                    label='Presence threshold',
                    info='Classes with a lower presence are removed from the prediction.',
                )
                presence = gradio.HTML()
            with gradio.Column(scale=6, min_width=640, visible=False) as results:
                with gradio.Row(elem_id='em-top'):
                    photograph, prediction = (gradio.HTML(min_width=200) for _ in range(2))
                legend, codewords, channels = (gradio.HTML() for _ in range(3))
        labelled = [prediction, legend, presence, message]
        upload.upload(
            show,
            [upload, slider],
            [kept, upload, slider, results, photograph, codewords, channels, *labelled],
            # As many as may wait: `Turns` refuses the others with a sentence on the page.
            concurrency_limit=None,
            api_visibility='private',
        )
        slider.input(
            remove,
            [kept, slider],
            labelled,
            show_progress='hidden',
            trigger_mode='always_last',
            concurrency_limit=4,
            api_visibility='private',
        )
    return page
