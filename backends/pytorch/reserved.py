"""Names that PyTorch has taken."""

ATTRIBUTES = frozenset(
    "T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda"
    " double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter"
    " get_submodule half ipu load_state_dict modules mtia named_buffers named_children"
    " named_modules named_parameters parameters register_backward_hook register_buffer"
    " register_forward_hook register_forward_pre_hook register_full_backward_hook"
    " register_full_backward_pre_hook register_load_state_dict_post_hook"
    " register_load_state_dict_pre_hook register_module register_parameter"
    " register_state_dict_post_hook register_state_dict_pre_hook requires_grad_ set_extra_state"
    " set_submodule share_memory state_dict to to_empty train training type xpu zero_grad".split()
) | frozenset(
    f"_{name}"
    for name in "apply backward_hooks backward_pre_hooks buffers call_impl compiled_call_impl"
    " forward_hooks forward_hooks_always_called forward_hooks_with_kwargs forward_pre_hooks"
    " forward_pre_hooks_with_kwargs get_backward_hooks get_backward_pre_hooks get_name"
    " is_full_backward_hook load_from_state_dict load_state_dict_post_hooks"
    " load_state_dict_pre_hooks maybe_warn_non_full_backward_hook modules named_members"
    " non_persistent_buffers_set parameters register_load_state_dict_pre_hook"
    " register_state_dict_hook replicate_for_data_parallel save_to_state_dict slow_forward"
    " state_dict_hooks state_dict_pre_hooks version wrapped_call_impl".split()
)
"""What `dir(nn.Module())` lists but for double underscores: a member so called would hide it."""

LOCALS = frozenset(
    {"self", "torch", "nn", "F", "Tensor", "Path", "OrderedDict", "load_file"} | {"Any"}
)
"""What emitted files import."""
