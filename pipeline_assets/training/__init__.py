"""Training: models, preprocessing, the loop, and the launcher of its processes.

Runs on a bare GPU node: torch, numpy, safetensors and psutil, no engine and no orchestrator. Import
what is needed from the modules; this package file stays free of torch.

    config           what is trained and how, as plain dataclasses with JSON forms
    preprocessor     statistics as a torch module, part of every model
    models/          factories `module:function(ModelConfig) -> nn.Module`
    tasks, losses    binary, multi-class, multi-label and regression
    model            the saved artefact: `load_model(folder).predict_proba(numeric, categorical)`
    export           the artefact as a graph of torch.export
    trainer          the loop; step, parallelize, collectives, precision, metrics, progress serve it
    checkpoint       the state on disk; checkpoint_writer saves it beside the training, resuming goes on from it
                     by checkpoint_reader, and checkpoint_lock keeps a second training out
    launch           `python -m pipeline_assets.training.launch job.json`; it starts the agent, the agent a
                     worker per rank, and the watchdog follows their heartbeats
"""
